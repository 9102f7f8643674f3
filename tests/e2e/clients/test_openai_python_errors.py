"""What OpenAI's own Python SDK raises when something is wrong, what it tries again, and what happens when it leaves."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai
import pytest

from tests.e2e.clients.support import CALLER_KEY, eventually
from tests.support.processes import GatewayProcess, ProviderProcess, answer, event, send, stream

pytestmark = pytest.mark.e2e

MESSAGES: Any = [{"role": "user", "content": "hi"}]
SLOW_DOWN = {"error": {"message": "slow down", "type": "requests", "param": None, "code": "rate_limit_exceeded"}}
BOOM = {"error": {"message": "boom", "type": "server_error", "param": None, "code": None}}
REFUSED = {"error": {"message": "too hot", "type": "invalid_request_error", "param": "temperature", "code": "range"}}
CHUNK = b'data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":'
ENDLESS = stream({"repeat": send(b"%x\r\n%b\r\n" % (len(event(".")), event(".")))["send"], "every": 0.02}, end=False)


@pytest.fixture
def client(keyed: GatewayProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{keyed.url}/v1", api_key=CALLER_KEY, max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(keyed: GatewayProcess) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{keyed.url}/v1", api_key=CALLER_KEY, max_retries=0) as client:
        yield client


def test_a_wrong_key_is_an_authentication_error(client: openai.OpenAI, provider: ProviderProcess, model: str) -> None:
    stranger = client.with_options(api_key="sk-wrong")

    with pytest.raises(openai.AuthenticationError) as caught:
        stranger.chat.completions.create(model=f"primary/{model}", messages=MESSAGES)

    assert caught.value.code == "invalid_api_key"
    assert caught.value.request_id
    assert provider.seen(model)["requests"] == []


def test_a_wrong_key_lists_no_models(client: openai.OpenAI) -> None:
    stranger = client.with_options(api_key="sk-wrong")

    with pytest.raises(openai.AuthenticationError):
        stranger.models.list()


def test_an_unknown_model_is_not_found(client: openai.OpenAI, model: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model=model, messages=MESSAGES)

    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert caught.value.request_id


@pytest.mark.parametrize("slash", ["", "primary/"], ids=["bare", "with-slash"])
def test_the_card_of_an_unknown_model_is_not_found(client: openai.OpenAI, model: str, slash: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve(f"{slash}{model}")

    assert caught.value.code == "model_not_found"
    assert caught.value.request_id


def test_a_question_that_is_none_is_a_bad_request(client: openai.OpenAI, provider: ProviderProcess, model: str) -> None:
    messages: Any = "hi"

    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=f"primary/{model}", messages=messages)

    assert caught.value.param == "messages"
    assert provider.seen(model)["requests"] == []


@pytest.mark.parametrize("how", [{}, {"stream": True}], ids=["whole", "streamed"])
def test_what_the_provider_refuses_is_a_bad_request_in_its_own_words(
    client: openai.OpenAI, provider: ProviderProcess, model: str, how: Any
) -> None:
    provider.script(model, answer(REFUSED, status="400 Bad Request"))

    with pytest.raises(openai.BadRequestError, match="too hot") as caught:
        client.chat.completions.create(model=f"primary/{model}", messages=MESSAGES, **how)

    error = caught.value
    assert (error.type, error.param, error.code) == ("invalid_request_error", "temperature", "range")


@pytest.mark.parametrize("how", [{}, {"stream": True}], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("said", "raised", "word"),
    [
        (answer(SLOW_DOWN, status="429 Too Many Requests"), openai.RateLimitError, "upstream_rate_limited"),
        (answer(BOOM, status="500 Internal Server Error"), openai.InternalServerError, "upstream_error"),
        (answer(BOOM, status="401 Unauthorized"), openai.InternalServerError, "upstream_auth"),
        (answer(BOOM), openai.InternalServerError, "upstream_error"),
        (answer({"choices": []}), openai.InternalServerError, "upstream_empty"),
    ],
    ids=["429", "500", "401", "error-in-200", "empty"],
)
def test_a_provider_that_fails_raises_what_fits(  # noqa: PLR0913, PLR0917 - three fixtures and a row of a table
    client: openai.OpenAI, provider: ProviderProcess, model: str, how: Any, said: Any, raised: Any, word: str
) -> None:
    provider.script(model, said)

    with pytest.raises(raised) as caught:
        client.chat.completions.create(model=f"primary/{model}", messages=MESSAGES, **how)

    assert caught.value.code == word
    assert caught.value.response.headers["x-signalbox-error"] == word
    assert caught.value.request_id


@pytest.mark.parametrize(
    "end",
    [
        [{"abort": True}],
        [{"close": True}],
        [send(b"0\r\n\r\n")],
        [send(b"3\r\nxyz\r\n0\r\n\r\n")],
        [send(b"nonsense\r\n")],
        [{"hang": True}],
        stream(b'data: {"error":{"message":"out of memory"}}\n\n')[1:],
        stream(b'data: {"error":{"message":"out of memory","code":502},"choices":[{"finish_reason":"error"}]}\n\n')[1:],
    ],
    ids=["cut", "closed", "ended-early", "half-an-event", "bad-chunk", "silent", "error", "error-in-choice"],
)
def test_a_stream_that_breaks_never_passes_for_a_whole_answer(
    client: openai.OpenAI, provider: ProviderProcess, model: str, end: Any
) -> None:
    provider.script(model, [*stream(CHUNK + b'{"content":"Hel"},"finish_reason":null}]}\n\n', end=False), *end])
    events = client.chat.completions.create(model=f"primary/{model}", messages=MESSAGES, stream=True)
    said = next(events).choices[0].delta.content

    with pytest.raises(openai.APIError) as caught:
        next(events)

    assert said == "Hel"
    assert not isinstance(caught.value, openai.APIConnectionError)
    assert caught.value.message
    assert str(caught.value.code).startswith("upstream_")


def test_the_sdk_waits_as_long_as_it_is_told_and_asks_again(
    client: openai.OpenAI, provider: ProviderProcess, model: str
) -> None:
    well = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}]}
    busy = answer(SLOW_DOWN, status="429 Too Many Requests", headers={"retry-after": "1"})
    provider.script(model, busy, answer(well))
    started = time.monotonic()

    completion = client.with_options(max_retries=2).chat.completions.create(model=f"primary/{model}", messages=MESSAGES)

    assert completion.choices[0].message.content == "yes"
    assert time.monotonic() - started >= 1
    assert len(provider.bodies(model)) == 2
    assert completion._request_id  # noqa: SLF001 - how the SDK spells its documented attribute


def test_the_sdk_asks_again_when_the_provider_failed(
    client: openai.OpenAI, provider: ProviderProcess, model: str
) -> None:
    provider.script(model, answer(BOOM, status="500 Internal Server Error"))

    with pytest.raises(openai.InternalServerError):
        client.with_options(max_retries=1).chat.completions.create(model=f"primary/{model}", messages=MESSAGES)

    assert len(provider.bodies(model)) == 2


def test_the_sdk_does_not_ask_again_what_was_refused(
    client: openai.OpenAI, provider: ProviderProcess, model: str
) -> None:
    provider.script(model, answer(REFUSED, status="400 Bad Request"))

    with pytest.raises(openai.BadRequestError):
        client.with_options(max_retries=2).chat.completions.create(model=f"primary/{model}", messages=MESSAGES)

    assert len(provider.bodies(model)) == 1


def test_closing_a_stream_hangs_up_on_the_provider(
    client: openai.OpenAI, keyed: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    provider.script(model, ENDLESS)
    events = client.chat.completions.create(model=f"primary/{model}", messages=MESSAGES, stream=True)
    request_id = events.response.headers["x-request-id"]
    next(events)

    events.close()

    eventually(lambda: provider.seen(model)["left"] == 1, "the provider is left")
    assert keyed.log_of(request_id)[0]["status"] == "client_disconnected"


def test_a_client_that_gives_up_waiting_hangs_up_on_the_provider(
    client: openai.OpenAI, provider: ProviderProcess, model: str
) -> None:
    provider.script(model, [{"hang": True}])

    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.3).chat.completions.create(model=f"primary/{model}", messages=MESSAGES)

    eventually(lambda: provider.seen(model)["left"] == 1, "the provider is left")


async def test_the_async_client_asks_many_at_once(async_client: openai.AsyncOpenAI, model: str) -> None:
    async def ask(number: int) -> tuple[str, str | None]:
        completion = await async_client.chat.completions.create(model=f"primary/{model}-{number}", messages=MESSAGES)
        return completion.model, completion.choices[0].message.content

    answers = await asyncio.gather(*(ask(number) for number in range(20)))

    assert answers == [(f"{model}-{number}", "Hello there.") for number in range(20)]


async def test_the_async_client_streams(async_client: openai.AsyncOpenAI, model: str) -> None:
    events = await async_client.chat.completions.create(model=f"primary/{model}", messages=MESSAGES, stream=True)

    assert [chunk.choices[0].delta.content async for chunk in events] == ["Hello", " there", ".", None]


async def test_a_stream_that_breaks_raises_in_the_async_client_too(
    async_client: openai.AsyncOpenAI, provider: ProviderProcess, model: str
) -> None:
    provider.script(model, stream(event("Hel"), {"abort": True}, end=False))
    events = await async_client.chat.completions.create(model=f"primary/{model}", messages=MESSAGES, stream=True)

    with pytest.raises(openai.APIError) as caught:
        _ = [chunk async for chunk in events]

    assert str(caught.value.code) == "upstream_truncated"


async def test_a_cancelled_task_hangs_up_on_the_provider(
    async_client: openai.AsyncOpenAI, provider: ProviderProcess, model: str
) -> None:
    provider.script(model, ENDLESS)
    begun = asyncio.Event()

    async def read() -> None:
        async for _ in await async_client.chat.completions.create(
            model=f"primary/{model}", messages=MESSAGES, stream=True
        ):
            begun.set()

    task = asyncio.create_task(read())
    await begun.wait()

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(eventually, lambda: provider.seen(model)["left"] == 1, "the provider is left")
