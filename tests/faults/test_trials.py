"""A provider that was passed over is tried again by one call at a time."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.breakers import DOWN, GOOD, assert_left_alone, state, tried_until, turns
from tests.support.processes import (
    GatewayProcess,
    ProviderProcess,
    gateway_process,
    stream,
)
from tests.support.provider_faults import ABORT, GATE, HANG, ask_and_wait, eventually

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def hasty(provider: ProviderProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway whose breakers let somebody try again soon, and which asks nobody twice."""
    config = {
        "providers": {name: {"base_url": provider.base_url(name)} for name in ("flapping", "left", "cut")},
        "retry": {"max_retries": 0},
        "breaker": {"open_seconds": 0.2, "max_open_seconds": 0.2},
        "health": {"probe": False},
        "cache": {"enabled": False},
    }
    with gateway_process(tmp_path_factory.mktemp("hasty"), config) as process:
        yield process


def test_U_21_one_call_tries_and_the_others_do_not_follow(hasty: GatewayProcess, provider: ProviderProcess) -> None:
    """A provider fails, recovers and fails again, while twenty callers at a time ask for it.

    Happens: after each opening exactly one call reaches it; while that one waits the others get 503 `no_target`. Its
    success lets everybody in, and five more failures keep everybody out again.

    Seen: `llm_circuit_breaker_state` 0, 2, 1, 0, 2; `llm_circuit_breaker_transitions_total`.
    """
    model, route = "flapping-model", "flapping/flapping-model"
    seen = lambda: len(provider.seen(model)["requests"])  # noqa: E731 - a name for the condition below
    provider.script(model, *[DOWN] * 5, [GATE, *GOOD], GOOD, *[DOWN] * 5, GOOD)
    assert state(hasty, "flapping") == 0
    tried_until(hasty, route, lambda: seen() == 5)
    assert state(hasty, "flapping") in {2, 1}
    eventually(lambda: state(hasty, "flapping") == 1, "it is due")

    with ThreadPoolExecutor(40) as threads:
        herd = [threads.submit(hasty.chat, route) for _ in range(20)]
        eventually(lambda: sum(each.done() for each in herd) == 19, "all but one are turned away")
        late = [threads.submit(hasty.chat, route) for _ in range(20)]
        for each in late:
            assert_left_alone(each.result())
        assert (seen(), state(hasty, "flapping")) == (6, 1)
        provider.open(model)
        answers = [each.result() for each in herd]
    (tried,) = [each for each in answers if each.status_code == 200]
    for each in answers:
        if each is not tried:
            assert_left_alone(each)

    assert (tried.headers["x-signalbox-attempts"], state(hasty, "flapping")) == ("flapping:ok", 0)
    assert hasty.chat(route).status_code == 200
    tried_until(hasty, route, lambda: seen() == 12)
    assert state(hasty, "flapping") in {2, 1}
    assert [turns(hasty, "flapping", to) for to in ("open", "half_open", "closed")] == [2, 1, 1]
    tried_until(hasty, route, lambda: state(hasty, "flapping") == 0)
    assert seen() == 13


def test_U_21_a_caller_who_leaves_during_the_trial_hands_it_on(
    hasty: GatewayProcess, provider: ProviderProcess
) -> None:
    """The one call that may try a provider again is given up by its caller.

    Happens: the next call is the trial; the breaker does not stay half-open for ever.

    Seen: `client_disconnected` in the log, then `llm_circuit_breaker_state` 0.
    """
    model, route = "left-model", "left/left-model"
    provider.script(model, *[DOWN] * 5, [HANG], GOOD)
    tried_until(hasty, route, lambda: len(provider.seen(model)["requests"]) == 5)
    eventually(lambda: state(hasty, "left") == 1, "it is due")

    with ask_and_wait(hasty, {"model": route}, request_id="left"):
        eventually(lambda: len(provider.seen(model)["requests"]) == 6, "the trial has begun")
        assert_left_alone(hasty.chat(route))
    eventually(lambda: provider.seen(model)["left"] == 1, "the trial has ended")

    tried_until(hasty, route, lambda: state(hasty, "left") == 0)
    assert len(provider.seen(model)["requests"]) == 7


def test_U_21_streams_that_break_off_open_it_too(hasty: GatewayProcess, provider: ProviderProcess) -> None:
    """Every stream of a provider begins and breaks off; each trial begins just as well.

    Happens: the fifth opens the breaker; a trial that begins lets others in, and breaking off opens it again at once.

    Seen: `upstream_truncated` as the end of each, `llm_circuit_breaker_transitions_total{to="open"}`.
    """
    first = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'
    provider.script("cut-model", stream(first, ABORT))
    seen = lambda: len(provider.seen("cut-model")["requests"])  # noqa: E731 - a name for the condition below

    for _ in range(5):
        assert hasty.chat("cut/cut-model", stream=True).status_code == 200
    assert (seen(), turns(hasty, "cut", "open")) == (5, 1)
    for opened in (2, 3):
        eventually(lambda: state(hasty, "cut") == 1, "it is due")
        hasty.chat("cut/cut-model", stream=True)
        assert turns(hasty, "cut", "open") == opened

    assert seen() == 7
