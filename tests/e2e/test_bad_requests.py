"""Bodies, fields, methods and paths that are wrong are refused by name, before anybody is asked."""

import json
from collections.abc import Iterator

import pytest

from tests.support.failures import (
    CHAT,
    INVALID,
    METHOD_NOT_ALLOWED,
    TOO_LARGE,
    UNSUPPORTED_ENCODING,
    check_refusal,
    counted,
    question,
    resident_bytes,
)
from tests.support.processes import GatewayProcess, ProviderProcess
from tests.support.raw import Wire, head

pytestmark = pytest.mark.e2e

LIMIT = 1_000_000
MIB = 2**20
DEEP = "[" * 100_000 + "]" * 100_000
MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b" \r\n", id="white"),
        pytest.param(b"{'model': 'x'}", id="malformed"),
        pytest.param(b'{"model":"primary/x","messages":[{"role":"us', id="truncated"),
        pytest.param(question("primary/x") + b"}", id="trailing"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="list"),
        pytest.param(b"5", id="number"),
        pytest.param(b'"model"', id="string"),
        pytest.param(DEEP.encode(), id="deep"),
        pytest.param(f'{{"model":"primary/x","messages":{DEEP}}}'.encode(), id="deep-messages"),
        pytest.param(f'{{"model":{DEEP},"messages":[]}}'.encode(), id="deep-model"),
        pytest.param(f'{{"model":"primary/x","messages":[],"x":{DEEP}}}'.encode(), id="deep-unknown"),
        pytest.param(question("primary/x", user="?").replace(b"?", b"\xff\xfe"), id="not-utf-8"),
        pytest.param(question("primary/x", user="?").replace(b"?", b"\xed\xa0\x80"), id="surrogate"),
        pytest.param(json.dumps({"model": "primary/x", "messages": []}).encode("utf-16"), id="utf-16"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(gateway: GatewayProcess, body: bytes) -> None:
    with counted(gateway, INVALID):
        response = gateway.client.post(CHAT, content=body)

    check_refusal(response, INVALID)


def test_a_schema_two_hundred_levels_deep_reaches_the_provider(
    gateway: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    schema: dict[str, object] = {"type": "string"}
    for _ in range(200):
        schema = {"type": "object", "properties": {"a": schema}}
    tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]

    response = gateway.chat(f"primary/{model}", tools=tools)

    assert response.status_code == 200
    assert provider.bodies(model)[0]["tools"] == tools


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        pytest.param(CHAT, {"messages": MESSAGES}, "model", id="model-missing"),
        pytest.param(CHAT, {"model": None, "messages": MESSAGES}, "model", id="model-null"),
        pytest.param(CHAT, {"model": 5, "messages": MESSAGES}, "model", id="model-number"),
        pytest.param(CHAT, {"model": "", "messages": MESSAGES}, "model", id="model-empty"),
        pytest.param(CHAT, {"model": "primary/" + "x" * 10_000, "messages": MESSAGES}, "model", id="model-long"),
        pytest.param(CHAT, {"model": "primary/x" + "y" * 248, "messages": MESSAGES}, "model", id="model-257"),
        pytest.param(CHAT, {"model": "primary/a\r\nb: c", "messages": MESSAGES}, "model", id="model-lines"),
        pytest.param(CHAT, {"model": "primary/a\x00", "messages": MESSAGES}, "model", id="model-nul"),
        pytest.param(CHAT, {"model": "primary/x"}, "messages", id="messages-missing"),
        pytest.param(CHAT, {"model": "primary/x", "messages": None}, "messages", id="messages-null"),
        pytest.param(CHAT, {"model": "primary/x", "messages": "hi"}, "messages", id="messages-text"),
        pytest.param(CHAT, {"model": "primary/x", "messages": {}}, "messages", id="messages-object"),
        pytest.param("/v1/completions", {"model": "primary/x"}, "prompt", id="prompt-missing"),
        pytest.param("/v1/completions", {"model": "primary/x", "prompt": 5}, "prompt", id="prompt-number"),
        pytest.param("/v1/embeddings", {"model": "primary/x"}, "input", id="input-missing"),
        pytest.param("/v1/embeddings", {"model": "primary/x", "input": 5}, "input", id="input-number"),
        pytest.param(CHAT, {"model": "primary/x", "messages": [], "stream": "true"}, "stream", id="stream-text"),
        pytest.param(CHAT, {"model": "primary/x", "messages": [], "stream": 1}, "stream", id="stream-number"),
        pytest.param(
            CHAT,
            {"model": "primary/x", "messages": [], "stream": True, "stream_options": []},
            "stream_options",
            id="stream-options-list",
        ),
        pytest.param(CHAT, {"model": "primary/x", "messages": [], "cache": 5}, "cache", id="cache-number"),
    ],
)
def test_a_field_of_the_wrong_shape_is_named(
    gateway: GatewayProcess, path: str, body: dict[str, object], param: str
) -> None:
    with counted(gateway, INVALID, route=path):
        response = gateway.client.post(path, json=body)

    check_refusal(response, INVALID, param=param)


def test_a_body_as_large_as_the_limit_is_taken(gateway: GatewayProcess, provider: ProviderProcess, model: str) -> None:
    body = question(f"primary/{model}", user="")
    padded = body.replace(b'"user": ""', b'"user": "%b"' % (b"x" * (LIMIT - len(body))))

    response = gateway.client.post(CHAT, content=padded)

    assert (len(padded), response.status_code) == (LIMIT, 200)
    assert len(provider.bodies(model)[0]["user"]) == LIMIT - len(body)


def test_a_body_over_the_limit_is_refused_by_its_length(gateway: GatewayProcess) -> None:
    with counted(gateway, TOO_LARGE), Wire(gateway.port) as wire:
        wire.send(head(gateway.port, f"Content-Length: {LIMIT + 1}", "Expect: 100-continue"))
        response = wire.answer()

    check_refusal(response, TOO_LARGE)


def test_a_chunked_body_over_the_limit_is_refused(gateway: GatewayProcess) -> None:
    def pieces() -> Iterator[bytes]:
        yield question("primary/x", user="?").removesuffix(b'?"}')
        for _ in range(LIMIT // 1000):
            yield b"x" * 1000
        yield b'"}'

    with counted(gateway, TOO_LARGE):
        response = gateway.client.post(CHAT, content=pieces())

    check_refusal(response, TOO_LARGE)


@pytest.mark.parametrize("chunked", [False, True], ids=["whole", "chunked"])
def test_a_hundred_megabytes_are_refused_and_not_kept(gateway: GatewayProcess, *, chunked: bool) -> None:
    before = most = resident_bytes(gateway)
    piece = b"x" * MIB
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {100 * MIB}"

    with counted(gateway, TOO_LARGE), Wire(gateway.port) as wire:
        wire.send(head(gateway.port, length))
        for _ in range(100):
            if wire.has_answer(within=0):
                break
            wire.send(b"%x\r\n%b\r\n" % (MIB, piece) if chunked else piece)
            most = max(most, resident_bytes(gateway))
        response = wire.answer()

    check_refusal(response, TOO_LARGE)
    assert most - before < 60 * MIB


@pytest.mark.parametrize(("method", "label"), [("GET", "GET"), ("PUT", "PUT"), ("TRACE", "other")])
def test_a_hot_route_answers_post_only(gateway: GatewayProcess, method: str, label: str) -> None:
    with counted(gateway, METHOD_NOT_ALLOWED, method=label):
        response = gateway.client.request(method, CHAT)

    check_refusal(response, METHOD_NOT_ALLOWED)
    assert response.headers["allow"] == "POST"


def test_models_are_not_deleted(gateway: GatewayProcess) -> None:
    with counted(gateway, METHOD_NOT_ALLOWED, method="DELETE", route="/v1/models"):
        response = gateway.client.delete("/v1/models")

    check_refusal(response, METHOD_NOT_ALLOWED)
    assert "GET" in response.headers["allow"].replace(" ", "").split(",")


@pytest.mark.parametrize("encoding", ["gzip", "br", "GZIP", "identity, gzip"])
def test_a_compressed_body_is_not_read(gateway: GatewayProcess, encoding: str) -> None:
    with counted(gateway, UNSUPPORTED_ENCODING):
        response = gateway.client.post(CHAT, content=question("primary/x"), headers={"content-encoding": encoding})

    check_refusal(response, UNSUPPORTED_ENCODING)


@pytest.mark.parametrize(
    "headers",
    [{}, {"content-type": "text/plain"}, {"content-type": "application/x-www-form-urlencoded"}, {"content-type": ""}],
    ids=["none", "text", "form", "empty"],
)
def test_a_body_is_json_whatever_its_type_says(gateway: GatewayProcess, model: str, headers: dict[str, str]) -> None:
    response = gateway.client.post(CHAT, content=question(f"primary/{model}"), headers=headers)

    assert response.status_code == 200
    assert response.json()["choices"][0]["message"]["content"] == "Hello there."


def test_of_a_duplicate_key_only_the_last_value_is_sent(
    gateway: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    twice = f'"model":"primary/other","model":"primary/{model}","stream":true,"stream":false,"x":"first","x":"last"'
    body = '{"messages":[{"role":"user","content":"first"}],%s,"messages":[]}' % twice  # noqa: UP031 - braces

    response = gateway.client.post(CHAT, content=body)

    assert response.headers["content-type"] == "application/json"
    (sent,) = provider.seen(model)["requests"]
    assert json.loads(sent["body"]) == {"messages": [], "model": model, "stream": False, "x": "last"}
    assert [sent["body"].count(f'"{key}"') for key in ("messages", "model", "stream", "x")] == [1, 1, 1, 1]
    assert "first" not in sent["body"]
