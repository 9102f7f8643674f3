"""Which targets are asked, how often, and with what waits."""

from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import pytest

from app.domain import upstream_errors as errors
from app.domain.errors import Failure, GatewayError
from app.domain.llm import LLMRequest, Reply
from app.providers.registry import Target
from app.providers.standing import Standings
from app.services.stages.fallback import FallbackDispatcher
from app.settings import BreakerSettings, RetrySettings
from tests.support.calls import call_for

BODY = b'{"model":"m","messages":[]}'


class Provider:
    prefix_only = critical = False

    def __init__(self, name: str, *failures: GatewayError) -> None:
        self.name = name
        self.failures = list(failures)
        self.asked = 0

    async def answer(self, request: LLMRequest, *, model: str, lines: bytes = b"") -> Reply:
        self.asked += 1
        if self.failures:
            raise self.failures.pop(0)
        return Reply(body=b"{}", provider=self.name, model=model, complete=True)

    async def models(self) -> list[dict[str, Any]]:
        return []


class Registry:
    def __init__(self, *providers: Provider) -> None:
        self.targets = [Target(provider, "m") for provider in providers]

    def route(self, model: str) -> None:
        return None

    def public_name(self, model: str) -> str:
        return f"public {model}"

    async def targets_for(self, model: str) -> list[Target]:
        return self.targets


class Witness:
    """Stands for metrics and health: notes what it is told."""

    def __init__(self) -> None:
        self.attempts: list[tuple[Any, ...]] = []
        self.choices: list[tuple[str, str]] = []
        self.again: list[tuple[str, str]] = []
        self.given_up: list[tuple[str, str]] = []
        self.watch = SimpleNamespace(flowing=False)

    def watch_of(self, _: str) -> SimpleNamespace:
        return self.watch

    def moved(self, *_: str) -> None:
        return None

    def chosen(self, provider: str, reason: str) -> None:
        self.choices.append((provider, reason))

    def retried(self, provider: str, reason: str) -> None:
        self.again.append((provider, reason))

    def left(self, provider: str, reason: str) -> None:
        self.given_up.append((provider, reason))

    def stream_broke(self, *_: str) -> None:
        return None

    def attempted(self, provider: str, *rest: Any, **_: Any) -> None:
        self.attempts.append((provider, *rest[1:]) if isinstance(rest[0], float) else (provider, rest[0]))


def dispatcher(*providers: Provider, **settings: Any) -> FallbackDispatcher:
    retry = RetrySettings(**{"backoff_seconds": 0.001, "max_wait_seconds": 0.5} | settings)
    return made(Registry(*providers), Witness(), Witness(), retry)


def made(
    registry: Any, metrics: Any, health: Any, retry: RetrySettings, breaker: BreakerSettings | None = None
) -> FallbackDispatcher:
    return FallbackDispatcher(registry, Standings(breaker or BreakerSettings(), retry), metrics, health, retry)


def failed(kind: type[errors.UpstreamError], **fields: Any) -> errors.UpstreamError:
    return kind("no", provider="p", **fields)


@pytest.mark.parametrize(
    "error",
    [
        failed(errors.UpstreamFailedError),
        failed(errors.UpstreamConnectError),
        failed(errors.UpstreamRateLimitedError, retry_after=0.01),
    ],
)
async def test_the_same_target_is_asked_again_where_that_is_safe(error: errors.UpstreamError) -> None:
    provider = Provider("one", error, error)
    call = call_for(BODY)

    await dispatcher(provider)(call)

    assert provider.asked == 3
    assert call.attempts == f"one:{error.word},one:{error.word},one:ok"


@pytest.mark.parametrize(
    "error",
    [
        failed(errors.UpstreamError),
        failed(errors.UpstreamTimeoutError),
        failed(errors.UpstreamAuthError),
        failed(errors.UpstreamMalformedError),
        failed(errors.UpstreamEmptyError),
        failed(errors.UpstreamTruncatedError),
        failed(errors.UpstreamRateLimitedError),
        failed(errors.UpstreamRateLimitedError, retry_after=0.6),
        failed(errors.UpstreamFailedError, retry_after=0.6),
        failed(errors.UpstreamNotFoundError, status=404),
    ],
)
async def test_where_it_is_not_the_next_target_is_asked_at_once(error: errors.UpstreamError) -> None:
    first, second = Provider("one", error), Provider("two")

    reply = await dispatcher(first, second)(call_for(BODY))

    assert (first.asked, second.asked, reply.provider) == (1, 1, "two")


@pytest.mark.parametrize(
    "error",
    [failed(errors.UpstreamRejectedError, status=400), failed(errors.ContextLengthError, status=400)],
)
async def test_what_is_the_callers_fault_is_tried_nowhere_else(error: errors.UpstreamError) -> None:
    first, second = Provider("one", error), Provider("two")

    with pytest.raises(errors.UpstreamRejectedError):
        await dispatcher(first, second)(call_for(BODY))

    assert (first.asked, second.asked) == (1, 0)


async def test_a_call_is_retried_twice_in_all_and_the_last_error_is_the_callers() -> None:
    down = [failed(errors.UpstreamFailedError) for _ in range(9)]
    first, second = Provider("one", *down[:5]), Provider("two", *down[5:8], failed(errors.UpstreamTimeoutError))
    call = call_for(BODY)

    with pytest.raises(errors.UpstreamError) as caught:
        await dispatcher(first, second)(call)

    assert (first.asked, second.asked) == (3, 1)
    assert caught.value.word is Failure.UPSTREAM_ERROR
    assert call.attempts == "one:upstream_error,one:upstream_error,one:upstream_error,two:upstream_error,"


async def test_no_retries_may_be_asked_for() -> None:
    provider = Provider("one", failed(errors.UpstreamFailedError))

    with pytest.raises(errors.UpstreamFailedError):
        await dispatcher(provider, max_retries=0)(call_for(BODY))

    assert provider.asked == 1


async def test_what_was_chosen_asked_again_and_given_up_is_told() -> None:
    down = [failed(errors.UpstreamFailedError) for _ in range(3)]
    witness, call = Witness(), call_for(BODY)
    registry = Registry(Provider("one", *down), Provider("two"))
    retry = RetrySettings(backoff_seconds=0.001)

    await made(registry, witness, witness, retry)(call)

    assert witness.choices == [("one", "route"), ("two", "fallback")]
    assert witness.again == [("one", "upstream_error")] * 2
    assert witness.given_up == [("one", "upstream_error")]
    assert call.public_model == "public m"
    assert 0 < call.passage.routed <= call.passage.answered


async def test_time_spent_on_a_connection_that_never_came_is_connecting() -> None:
    call = call_for(BODY)

    await dispatcher(Provider("one", errors.unreached(failed(errors.UpstreamConnectError))), Provider("two"))(call)

    assert 0 < call.passage.connecting <= call.passage.answered - call.passage.routed


async def test_a_stream_tells_at_its_first_event_and_at_each_that_it_flows() -> None:
    class Streaming(Provider):
        async def answer(self, request: LLMRequest, *, model: str, lines: bytes = b"") -> Reply:
            return Reply(body=events(), provider=self.name, model=model)

    async def events() -> AsyncGenerator[bytes]:
        yield b"data: {}\n\n"

    health, call = Witness(), call_for(BODY)
    provider: Any = Streaming("one")

    await made(Registry(provider), Witness(), health, RetrySettings())(call)
    begun, health.watch.flowing = health.watch.flowing, False
    (tap,) = call.taps
    assert (begun, health.watch.flowing, health.attempts) == (True, False, [])
    tap.saw(b"data: {}\n\n")

    assert health.watch.flowing
    tap.ended(None)
    assert health.attempts == [("one", None)]
