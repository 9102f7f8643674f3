"""Many who ask the same at once are one call to the provider, whoever of them stays."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from tests.e2e.conftest import PROVIDER_KEY
from tests.support.processes import GatewayProcess, ProviderProcess, event, gateway_process, stream
from tests.support.provider_faults import ABORT, DONE, GATE, ask_and_wait, events_of, eventually, last_error
from tests.support.sharing import FIRST, LAST, SLOW, USED, WHOLE, active, asked_by, noticed

pytestmark = pytest.mark.e2e

COUNTERS: dict[str, tuple[str, dict[str, str]]] = {
    "hits": ("llm_cache_hits_total", {}),
    "misses": ("llm_cache_misses_total", {}),
    "attempts": ("llm_provider_requests_total", {"provider": "primary"}),
    "calls": ("llm_requests_total", {"provider": "primary", "status": "success"}),
    "used": ("llm_token_usage_total", {"provider": "primary", "type": "prompt"}),
    "saved": ("llm_cache_tokens_saved_total", {"type": "completion"}),
}

shapes = pytest.mark.parametrize("streamed", [False, True], ids=["JSON", "stream"])


@pytest.fixture(scope="module")
def patient(provider: ProviderProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway with the usual time limits: no test of this file comes near them."""
    row = {"base_url": provider.base_url("primary"), "api_key": PROVIDER_KEY}
    with gateway_process(tmp_path_factory.mktemp("patient"), {"providers": {"primary": row}}) as process:
        yield process


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(20) as executor:
        yield executor


def counted(gateway: GatewayProcess) -> dict[str, float]:
    return {name: gateway.metric(metric, **labels) for name, (metric, labels) in COUNTERS.items()}


def more_than(before: Mapping[str, float], gateway: GatewayProcess) -> dict[str, float]:
    return {name: value - before[name] for name, value in counted(gateway).items()}


@shapes
def test_twenty_who_ask_the_same_at_once_are_one_call(
    patient: GatewayProcess, provider: ProviderProcess, threads: ThreadPoolExecutor, model: str, *, streamed: bool
) -> None:
    provider.script(model, SLOW[streamed])
    before = counted(patient)

    asked = asked_by(20, threads, patient, model, stream=streamed)
    provider.open(model)
    answers = [each.result() for each in asked]

    assert {each.content for each in answers} == {WHOLE[streamed]}
    assert len(provider.seen(model)["requests"]) == 1
    assert sorted(each.headers["x-signalbox-cache"] for each in answers) == ["coalesced"] * 19 + ["miss"]
    assert {each.headers["x-signalbox-provider"] for each in answers} == {"primary"}
    eventually(lambda: active(patient) == 0, "all are settled")
    more = {"hits": 19, "misses": 1, "attempts": 1, "calls": 20, "used": 7, "saved": 19 * 3}
    assert more_than(before, patient) == more
    later = patient.chat(f"primary/{model}", messages=[], stream=streamed)
    assert (later.headers["x-signalbox-cache"], later.content) == ("hit", WHOLE[streamed])


def test_each_is_told_the_usage_who_asked_for_it(
    patient: GatewayProcess, provider: ProviderProcess, threads: ThreadPoolExecutor, model: str
) -> None:
    provider.script(model, SLOW[True])

    (leader,) = asked_by(1, threads, patient, model, stream=True)
    (follower,) = asked_by(1, threads, patient, model, stream=True, stream_options={"include_usage": True})
    provider.open(model)

    assert leader.result().content == FIRST + LAST + DONE
    assert follower.result().content == FIRST + LAST + USED + DONE
    assert follower.result().headers["x-signalbox-cache"] == "coalesced"


def test_the_first_to_ask_may_read_slowly_without_hurting_the_others(
    patient: GatewayProcess, provider: ProviderProcess, threads: ThreadPoolExecutor, model: str
) -> None:
    long = [event("x" * 2**19)] * 32
    provider.script(model, stream(FIRST, GATE, *long, LAST, DONE))

    with ask_and_wait(patient, {"model": f"primary/{model}", "stream": True}, request_id=model):
        eventually(lambda: active(patient) == 1, "the first has asked")
        (follower,) = asked_by(1, threads, patient, model, stream=True)
        provider.open(model)
        eventually(follower.done, "the other has it all, though the first reads nothing")

    assert follower.result().content == FIRST + b"".join(long) + LAST + DONE


def test_what_nobody_can_share_any_more_is_not_kept(
    patient: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    provider.script(model, stream(*[event("x" * 2**16)] * 1601, GATE))
    before = patient.metric("process_resident_memory_bytes")
    question = {"model": f"primary/{model}", "messages": [], "stream": True}

    with patient.client.stream("POST", "/v1/chat/completions", json=question) as response:
        pieces = response.iter_raw()
        left = 100 * 2**20
        while left > 0:
            left -= len(next(pieces))
        grown = patient.metric("process_resident_memory_bytes") - before

    assert grown < 40 * 2**20


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)], ids=["first first", "first last", "in between"])
@shapes
def test_the_call_is_cancelled_when_all_have_left(
    patient: GatewayProcess, provider: ProviderProcess, model: str, *, streamed: bool, order: tuple[int, ...]
) -> None:
    provider.script(model, SLOW[streamed])
    body = {"model": f"primary/{model}", "stream": streamed}
    with ExitStack() as stack:
        callers = []
        for number in range(3):
            callers.append(stack.enter_context(ask_and_wait(patient, body, request_id=f"{model}-{number}")))
            eventually(lambda: active(patient) == len(callers), "one more has asked")
        *early, last = order

        for number in early:
            callers[number].close()
        noticed(patient)
        left_before = provider.seen(model)["left"]
        callers[last].close()

        eventually(lambda: provider.seen(model)["left"] == 1, "the provider is hung up on")
    assert left_before == 0
    assert len(provider.seen(model)["requests"]) == 1
    statuses = [line["status"] for number in range(3) for line in patient.log_of(f"{model}-{number}")]
    assert statuses == ["client_disconnected"] * 3


def test_a_stream_that_breaks_breaks_for_everybody(
    patient: GatewayProcess, provider: ProviderProcess, threads: ThreadPoolExecutor, model: str
) -> None:
    provider.script(model, stream(FIRST, GATE, ABORT))

    asked = asked_by(5, threads, patient, model, stream=True)
    provider.open(model)
    answers = [each.result() for each in asked]

    assert [events_of(each)[0] + b"\n\n" for each in answers] == [FIRST] * 5
    assert [last_error(each)["code"] for each in answers] == ["upstream_truncated"] * 5
    assert len(provider.seen(model)["requests"]) == 1


@pytest.mark.parametrize(
    "other", [{"seed": 2}, {"headers": {"cache-control": "no-cache"}}, {"headers": {"cache-control": "no-store"}}]
)
@shapes
def test_who_asks_otherwise_asks_alone(  # noqa: PLR0913 - fixtures and cases
    patient: GatewayProcess,
    provider: ProviderProcess,
    threads: ThreadPoolExecutor,
    model: str,
    *,
    streamed: bool,
    other: dict[str, Any],
) -> None:
    provider.script(model, SLOW[streamed])

    asked = asked_by(1, threads, patient, model, stream=streamed, seed=1)
    asked += asked_by(1, threads, patient, model, stream=streamed, **{"seed": 1} | other)
    eventually(lambda: len(provider.seen(model)["requests"]) == 2, "both are asked of the provider")
    provider.open(model)

    assert [each.result().content for each in asked] == [WHOLE[streamed]] * 2
    assert "coalesced" not in {each.result().headers["x-signalbox-cache"] for each in asked}
