"""OpenAI's own Python SDK does all it can do here: chat, streams, tools, embeddings, completions, models."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from pydantic import BaseModel

from tests.e2e.clients.support import CALLER_KEY
from tests.support.processes import GatewayProcess, ProviderProcess, answer, stream

pytestmark = pytest.mark.e2e

MESSAGES: Any = [{"role": "user", "content": "hi"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture
def client(keyed: GatewayProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{keyed.url}/v1", api_key=CALLER_KEY, max_retries=0) as client:
        yield client


def test_a_chat_is_answered_with_every_field_the_provider_sent(client: openai.OpenAI, model: str) -> None:
    completion = client.chat.completions.create(model=f"primary/{model}", messages=MESSAGES)

    assert completion.choices[0].message.content == "Hello there."
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.total_tokens == 10
    assert completion.model_extra == {"x_unknown": {"kept": True}}


def test_the_request_id_the_sdk_surfaces_is_the_one_in_the_log(
    client: openai.OpenAI, keyed: GatewayProcess, model: str
) -> None:
    completion = client.chat.completions.create(model=f"primary/{model}", messages=MESSAGES)

    assert completion._request_id is not None  # noqa: SLF001 - how the SDK offers it - how the SDK spells its documented attribute
    (line,) = keyed.log_of(completion._request_id)  # noqa: SLF001 - how the SDK offers it
    assert line["status"] == "ok"


def test_the_raw_response_tells_who_answered(client: openai.OpenAI, model: str) -> None:
    raw = client.chat.completions.with_raw_response.create(model=f"primary/{model}", messages=MESSAGES)

    assert raw.headers["x-signalbox-provider"] == "primary"
    assert raw.parse().choices[0].message.content == "Hello there."


def test_parameters_of_the_sdk_reach_the_provider_as_they_were_given(
    client: openai.OpenAI, provider: ProviderProcess, model: str
) -> None:
    client.chat.completions.create(
        model=f"primary/{model}",
        messages=[{"role": "user", "content": [{"type": "text", "text": "größer 🎈"}]}],
        temperature=0.1,
        seed=7,
        logit_bias={"50256": -100},
        extra_body={"provider": {"order": ["a", "b"]}},
    )

    (sent,) = provider.bodies(model)
    assert sent == {
        "model": model,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "größer 🎈"}]}],
        "temperature": 0.1,
        "seed": 7,
        "logit_bias": {"50256": -100},
        "provider": {"order": ["a", "b"]},
    }


def test_the_callers_key_stays_here(client: openai.OpenAI, provider: ProviderProcess, model: str) -> None:
    client.chat.completions.create(model=f"primary/{model}", messages=MESSAGES)

    (request,) = provider.seen(model)["requests"]
    assert CALLER_KEY not in str(request)


def test_a_stream_without_usage_has_a_choice_in_every_chunk(client: openai.OpenAI, model: str) -> None:
    chunks = list(client.chat.completions.create(model=f"primary/{model}", messages=MESSAGES, stream=True))

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello there."
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)


def test_a_stream_with_usage_ends_with_the_usage(client: openai.OpenAI, model: str) -> None:
    chunks = list(
        client.chat.completions.create(
            model=f"primary/{model}", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
    )

    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 10
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_a_stream_has_its_request_id_before_its_first_chunk(
    client: openai.OpenAI, keyed: GatewayProcess, model: str
) -> None:
    with client.chat.completions.create(model=f"primary/{model}", messages=MESSAGES, stream=True) as events:
        request_id = events.response.headers["x-request-id"]
        text = "".join(chunk.choices[0].delta.content or "" for chunk in events)

    assert text == "Hello there."
    assert keyed.log_of(request_id)[0]["status"] == "ok"


def test_a_stored_stream_is_the_same_to_the_sdk(client: openai.OpenAI, provider: ProviderProcess, model: str) -> None:
    first = list(client.chat.completions.create(model=f"primary/{model}", messages=MESSAGES, stream=True))

    again = list(client.chat.completions.create(model=f"primary/{model}", messages=MESSAGES, stream=True))

    assert again == first
    assert len(provider.bodies(model)) == 1


def test_tool_calls_come_back(client: openai.OpenAI, provider: ProviderProcess, model: str) -> None:
    completion = client.chat.completions.create(
        model=f"primary/{model}", messages=MESSAGES, tools=[WEATHER], tool_choice="required"
    )

    (call,) = completion.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert (call.id, call.function.name, call.function.arguments) == ("call_1", "weather", '{"city":"Oslo"}')
    assert completion.choices[0].finish_reason == "tool_calls"
    (sent,) = provider.bodies(model)
    assert (sent["tools"], sent["tool_choice"]) == ([WEATHER], "required")


def test_tool_calls_in_pieces_are_put_together(client: openai.OpenAI, provider: ProviderProcess, model: str) -> None:
    begun = b'{"index":0,"id":"call_1","type":"function","function":{"name":"weather","arguments":""}}'
    pieces = [begun, *(b'{"index":0,"function":{"arguments":"%b"}}' % each for each in (rb"{\"city\":", rb"\"Oslo\"}"))]
    events = [_chunk(b'{"tool_calls":[%b]}' % each) for each in pieces]
    provider.script(model, stream(*events, _chunk(b"{}", b'"tool_calls"'), b"data: [DONE]\n\n"))
    state = ChatCompletionStreamState()

    for chunk in client.chat.completions.create(
        model=f"primary/{model}", messages=MESSAGES, tools=[WEATHER], stream=True
    ):
        state.handle_chunk(chunk)

    (call,) = state.get_final_completion().choices[0].message.tool_calls or []
    assert (call.id, call.function.name, call.function.arguments) == ("call_1", "weather", '{"city":"Oslo"}')


class _Weather(BaseModel):
    city: str


def test_a_structured_answer_is_parsed(client: openai.OpenAI, provider: ProviderProcess, model: str) -> None:
    message = {"role": "assistant", "content": '{"city":"Oslo"}'}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    provider.script(
        model, answer({"id": "x", "object": "chat.completion", "created": 1, "model": model, "choices": choices})
    )

    completion = client.chat.completions.parse(model=f"primary/{model}", messages=MESSAGES, response_format=_Weather)

    assert completion.choices[0].message.parsed == _Weather(city="Oslo")
    assert provider.bodies(model)[0]["response_format"]["type"] == "json_schema"


@pytest.mark.parametrize(
    "asked",
    [
        {"input": "one"},
        {"input": ["one", "two", "three"]},
        {"input": [1, 2, 3]},
        {"input": [[1, 2], [3]]},
        {"input": ["one", "two"], "encoding_format": "float"},
        {"input": [[1, 2], [3]], "encoding_format": "float"},
        {"input": "one", "dimensions": 2, "user": "somebody"},
    ],
    ids=["text", "texts", "tokens", "several-tokens", "floats", "floats-of-tokens", "more-options"],
)
def test_embeddings_are_vectors_whatever_was_given(
    client: openai.OpenAI, provider: ProviderProcess, model: str, asked: Any
) -> None:
    made = client.embeddings.create(model=f"primary/{model}", **asked)

    several = isinstance(asked["input"], list) and not isinstance(asked["input"][0], int)
    vectors = len(asked["input"]) if several else 1
    assert [each.embedding for each in made.data] == [[0.5, -0.25]] * vectors
    assert [each.index for each in made.data] == list(range(vectors))
    assert made.usage.prompt_tokens == 5
    assert provider.bodies(model) == [{"model": model, "encoding_format": "base64"} | asked]


@pytest.mark.parametrize("prompt", ["Once", ["Once", "Twice"], [1, 2, 3]], ids=["text", "texts", "tokens"])
def test_a_completion_is_answered(client: openai.OpenAI, provider: ProviderProcess, model: str, prompt: Any) -> None:
    completion = client.completions.create(model=f"primary/{model}", prompt=prompt, max_tokens=5)

    assert completion.choices[0].text == "Hello there."
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 3
    assert provider.bodies(model) == [{"model": model, "prompt": prompt, "max_tokens": 5}]


def test_a_completion_is_streamed(client: openai.OpenAI, provider: ProviderProcess, model: str) -> None:
    event = b'data: {"id":"x","object":"text_completion","created":1,"model":"m","choices":[%b]}\n\n'
    choices = [b'{"index":0,"text":"%b","finish_reason":%b}' % each for each in ((b"Hel", b"null"), (b"lo", b'"stop"'))]
    provider.script(model, stream(*(event % each for each in choices), b"data: [DONE]\n\n"))

    chunks = list(client.completions.create(model=f"primary/{model}", prompt="Once", stream=True))

    assert "".join(chunk.choices[0].text for chunk in chunks) == "Hello"


def test_models_are_listed(client: openai.OpenAI) -> None:
    models = {model.id: model for model in client.models.list()}

    assert models["primary-model"].owned_by == "primary"
    assert models["primary-model"].object == "model"


@pytest.mark.parametrize("name", ["primary-model", "primary/primary-model"])
def test_a_model_is_retrieved_by_its_name_also_with_a_slash(client: openai.OpenAI, name: str) -> None:
    model = client.models.retrieve(name)

    assert (model.id, model.owned_by) == (name, "primary")


def _chunk(delta: bytes, finish_reason: bytes = b"null") -> bytes:
    head = b'{"id":"x","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":'
    return b"data: " + head + delta + b',"finish_reason":' + finish_reason + b"}]}\n\n"
