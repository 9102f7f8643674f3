"""The built-in demo: every shape there is, and no doubt about what answered."""

import base64
import json
import math
import struct
from typing import Any

import pytest

from app.domain.errors import Failure
from app.domain.llm import LLMRequest, Operation, Reply
from app.domain.upstream_errors import UpstreamNotFoundError, UpstreamRejectedError
from app.providers.demo import DIMENSIONS, MODEL, TEXT, DemoProvider
from tests.support.calls import read

TEXTS = [(Operation.CHAT, "chat.completion"), (Operation.COMPLETION, "text_completion")]


async def ask(operation: Operation, **fields: Any) -> Reply:
    body = {"model": "public", "messages": [], "prompt": "hi", "input": "hi"} | fields
    request = LLMRequest.parse(operation, json.dumps(body).encode())
    return await DemoProvider(name="demo").answer(request, model=MODEL)


async def embeddings(asked: Any, **fields: Any) -> list[Any]:
    document = json.loads(await read(await ask(Operation.EMBEDDING, input=asked, **fields)))
    assert [each["index"] for each in document["data"]] == list(range(len(document["data"])))
    return [each["embedding"] for each in document["data"]]


def said(choice: dict[str, Any]) -> str:
    text = choice["message"]["content"] if "message" in choice else choice["text"]
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize(("operation", "kind"), TEXTS)
async def test_a_json_answer(operation: Operation, kind: str) -> None:
    reply = await ask(operation)

    document = json.loads(await read(reply))
    (choice,) = document["choices"]
    assert (document["object"], document["model"], choice["finish_reason"]) == (kind, "demo", "stop")
    assert said(choice) == TEXT
    assert document["usage"]["total_tokens"] == reply.usage.total_tokens > reply.usage.prompt_tokens > 0
    assert (reply.provider, reply.model, reply.finish_reasons, reply.complete) == ("demo", "public", ("stop",), True)


@pytest.mark.parametrize(("operation", "kind"), TEXTS)
async def test_a_stream(operation: Operation, kind: str) -> None:
    reply = await ask(operation, stream=True)
    assert not reply.complete

    events = (await read(reply)).removesuffix(b"\n\n").split(b"\n\n")

    documents = [json.loads(each.removeprefix(b"data: ")) for each in events]
    *words, last, usage = documents
    kind = f"{kind}.chunk" if operation is Operation.CHAT else kind
    assert {each["object"] for each in documents} == {kind}
    choices = [each["choices"][0] for each in words]
    texts = [each["delta"]["content"] if operation is Operation.CHAT else each["text"] for each in choices]
    assert "".join(texts).strip() == TEXT
    assert {each["finish_reason"] for each in choices} == {None}
    assert last["choices"][0]["finish_reason"] == "stop"
    assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], reply.usage.total_tokens)
    assert (reply.finish_reasons, reply.complete) == (("stop",), True)


def test_what_it_says_is_that_it_is_the_demo() -> None:
    assert "demo" in TEXT
    assert "no language model answered" in TEXT


async def test_embeddings_say_so_too() -> None:
    reply = await ask(Operation.EMBEDDING)

    document = json.loads(await read(reply))

    assert (document["object"], document["model"], document["notice"]) == ("list", "demo", TEXT)
    assert reply.complete


@pytest.mark.parametrize(
    ("asked", "vectors"),
    [("hi", 1), (["hi"], 1), (["hi", "ho", "hi"], 3), ([1, 2, 3], 1), ([[1, 2], [3]], 2), ([], 0)],
)
async def test_there_is_a_vector_for_each_input(asked: Any, vectors: int) -> None:
    found = await embeddings(asked)

    assert len(found) == vectors
    assert all(len(each) == DIMENSIONS for each in found)
    assert all(math.isclose(math.hypot(*each), 1) for each in found)


async def test_the_same_input_has_the_same_vector() -> None:
    one, other, again = await embeddings(["hi", "ho", "hi"])

    assert one == again != other
    assert await embeddings("hi") == [one]


async def test_base64_is_the_same_vector_in_single_precision() -> None:
    floats = await embeddings(["hi", "ho"], encoding_format="float")
    encoded = await embeddings(["hi", "ho"], encoding_format="base64")

    decoded = [struct.unpack(f"<{DIMENSIONS}f", base64.b64decode(each)) for each in encoded]

    assert [list(each) for each in decoded] == [pytest.approx(each, rel=1e-6) for each in floats]


@pytest.mark.parametrize("operation", list(Operation))
async def test_another_model_is_not_found(operation: Operation) -> None:
    request = LLMRequest.parse(operation, b'{"model":"gpt","messages":[],"prompt":"","input":""}')

    with pytest.raises(UpstreamNotFoundError, match="demo") as caught:
        await DemoProvider(name="demo").answer(request, model="gpt")

    assert caught.value.status_code == 404
    assert caught.value.word is Failure.UPSTREAM_REJECTED


async def test_it_lists_its_one_model() -> None:
    (card,) = await DemoProvider(name="demo").models()

    assert card == {"id": "demo", "description": TEXT}


async def test_a_longer_question_has_more_tokens() -> None:
    short, long = await ask(Operation.CHAT), await ask(Operation.CHAT, messages=["x" * 400])

    assert long.usage.prompt_tokens >= short.usage.prompt_tokens + 100


async def test_a_number_beyond_all_floats_is_the_callers_fault() -> None:
    request = LLMRequest.parse(Operation.EMBEDDING, b'{"model":"demo","input":[[1e999]]}')

    with pytest.raises(UpstreamRejectedError) as caught:
        await DemoProvider(name="demo").answer(request, model=MODEL)

    assert (caught.value.status_code, caught.value.param) == (400, "input")
