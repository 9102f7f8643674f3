"""The soak's own traffic, a few times over: every counter, the provider's and the log say what was done.

Memory and times are `make soak`'s; here it is that its bill adds up, and that it would tell if it did not.
"""

import asyncio
import random
from pathlib import Path

import pytest

from benchmarks.soak import bill
from benchmarks.soak.cases import CASES
from benchmarks.soak.ledger import Ledger
from benchmarks.soak.provider import Ledger as ProviderLedger
from benchmarks.soak.run import Plan, held_longer, soak
from benchmarks.soak.traffic import PLAYS
from benchmarks.soak.trend import Sample, trend_of
from benchmarks.soak.vitals import Memory

pytestmark = pytest.mark.e2e

TIMES = 12
CACHE_BYTES = 64 * 1024


def test_everything_adds_up_and_nothing_is_left(directory: Path) -> None:
    plan = Plan(times=TIMES, callers=8, cache_bytes=CACHE_BYTES)

    result = asyncio.run(soak(directory, plan))

    assert {name: wrongs for name, wrongs in result.differences.items() if wrongs} == {}
    assert held_longer(result.before, result.after) == []
    assert result.requests > TIMES * len(PLAYS)


def billed(*names: str) -> tuple[Ledger, dict[bill.Sample, float], list[bytes]]:
    """A ledger of calls of these cases, and the samples and lines that a gateway would have for them."""
    ledger = Ledger()
    lines = []
    for number, name in enumerate(names):
        ledger.note(name, number)
        lines.append(bill.as_line(name, number))
    return ledger, {sample: float(value) for sample, value in ledger.samples.items() if value}, lines


@pytest.mark.parametrize("name", CASES)
def test_a_bill_that_is_right_is_accepted(name: str) -> None:
    ledger, samples, lines = billed(name, "json")

    assert list(bill.metrics_differ(samples, ledger)) == []
    assert list(bill.log_differs(lines, ledger)) == []


@pytest.mark.parametrize("name", CASES)
def test_a_call_that_was_not_counted_is_missed_and_one_too_many_is_noticed(name: str) -> None:
    ledger, samples, lines = billed(name, "json")
    _, fewer, _ = billed("json")

    assert list(bill.metrics_differ(fewer, ledger))
    assert list(bill.log_differs(lines[1:], ledger))
    assert list(bill.log_differs([*lines, lines[0]], ledger))
    assert list(bill.metrics_differ(samples | {("llm_active_requests", (("provider", "main"),)): 1.0}, ledger))


def test_a_line_that_says_something_else_is_noticed() -> None:
    ledger, _, lines = billed("left")

    (told,) = bill.log_differs([lines[0].replace(b"client_disconnected", b"upstream_error")], ledger)

    assert "left.0" in told


def test_the_cache_and_the_provider_are_held_against_the_ledger() -> None:
    ledger, samples, _ = billed("json", "json")
    full = {("llm_cache_keys_total", ()): 1.0, ("llm_cache_evictions_total", ()): 1.0}
    tokens = [sum(each) for each in zip(CASES["json"].tokens(0), CASES["json"].tokens(1), strict=True)]
    said = ProviderLedger(
        questions={"main": 3},
        replays={"main": 1},
        prompt_tokens={"main": tokens[0]},
        completion_tokens={"main": tokens[1]},
    )

    assert list(bill.cache_differs(full, ledger, 100)) == []
    assert list(bill.cache_differs(full | {("llm_cache_keys_total", ()): 2.0}, ledger, 100))
    assert list(bill.provider_differs(said, samples, ledger)) == []
    said.replays["main"] = 0
    assert list(bill.provider_differs(said, samples, ledger))


def test_a_trend_is_a_slope_per_thousand_requests() -> None:
    samples = [Sample(100 * each, Memory(pss=5000 + 3 * each, rss=0)) for each in range(40)]

    trend = trend_of(samples)

    assert trend.kb_per_thousand == trend.at_least == pytest.approx(30)
    assert trend.grown_mb == pytest.approx(3 * 32 / 1024)


def test_noise_is_no_growth_and_growth_in_noise_is_seen() -> None:
    noise = random.Random(1)  # noqa: S311 - the same numbers every time

    def trend(growth: float) -> float:
        held = [9000 + int(growth * each + noise.gauss(0, 500)) for each in range(300)]
        return trend_of([Sample(1000 * each, Memory(pss=kb, rss=0)) for each, kb in enumerate(held)]).at_least

    assert trend(0) < 1
    assert trend(5) > 1
