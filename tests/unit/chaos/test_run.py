"""The schedule is the seed's, and the audit tells when two accounts do not agree."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from benchmarks.soak.ledger import Sample
from tests.chaos.run import schedule
from tests.chaos.run.audit import Accounts, Line
from tests.chaos.run.book import Book, Told
from tests.chaos.run.nemeses import Nemeses

CHAT = "/v1/chat/completions"


class Case:
    """Two calls of which everybody tells the same: one well, one refused by a provider after a retry."""

    def __init__(self) -> None:
        self.book = Book()
        self.book.add(Told("one", "one", status=200, whole=True, number=3))
        self.book.add(Told("two", "two", status=502, word="upstream_error", whole=True))
        common = {"event": "call", "operation": "chat/completions", "cache": "miss"}
        self.lines: list[dict[str, Any]] = [
            common
            | {"status": "ok", "request_id": "one", "attempts": "a:ok", "prompt_tokens": 4, "completion_tokens": 22},
            common | {"status": "upstream_error", "request_id": "two", "attempts": "a:upstream_error,a:upstream_error"},
        ]
        self.journal = [received("one"), received("two"), received("two")]
        self.samples: dict[Sample, float] = {
            ("http_requests_total", labels(method="POST", route=CHAT, status="200")): 1,
            ("http_requests_total", labels(method="POST", route=CHAT, status="502")): 1,
            ("llm_requests_total", labels(provider="a", status="success")): 1,
            ("llm_requests_total", labels(provider="a", status="error")): 1,
            ("llm_request_errors_total", labels(error_type="upstream_error")): 1,
            ("llm_provider_requests_total", labels(provider="a")): 3,
            ("llm_provider_errors_total", labels(provider="a", error_type="upstream_error")): 2,
            ("llm_token_usage_total", labels(provider="a", type="prompt")): 4,
            ("llm_token_usage_total", labels(provider="a", type="completion")): 22,
            ("llm_cache_misses_total", ()): 2,
        }

    def differences(self) -> list[str]:
        """Where the accounts disagree."""
        log = [msgspec.json.encode(line) for line in self.lines]
        found = Accounts(self.book, log, self.samples, self.journal).differences()
        return [name for name, wrongs in found.items() if wrongs]


def received(call: str, turn: int = 1) -> dict[str, Any]:
    return {"kind": "received", "call": call, "row": "a", "turn": turn}


def labels(**values: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(values.items()))


def lost_line(case: Case) -> None:
    case.lines.pop(0)


def line_too_many(case: Case) -> None:
    case.lines.append(case.lines[0])


def other_word(case: Case) -> None:
    case.lines[1]["status"] = "upstream_timeout"


def other_tokens(case: Case) -> None:
    case.lines[0]["completion_tokens"] = 21


def asked_in_secret(case: Case) -> None:
    case.journal.append(received("two"))


def never_asked(case: Case) -> None:
    case.journal.pop(0)


def miscounted(case: Case) -> None:
    case.samples["llm_requests_total", labels(provider="a", status="success")] = 2


def answered_twice(case: Case) -> None:
    case.samples["http_requests_total", labels(method="POST", route=CHAT, status="200")] = 2


def own_fault(case: Case) -> None:
    case.lines.append({"event": "the application failed", "level": "error"})


@pytest.mark.parametrize(
    ("spoil", "where"),
    [
        (lost_line, "settled"),
        (line_too_many, "settled"),
        (other_word, "settled"),
        (other_tokens, "settled"),
        (asked_in_secret, "providers"),
        (never_asked, "providers"),
        (miscounted, "counters"),
        (answered_twice, "counters"),
        (own_fault, "log"),
    ],
)
def test_an_account_that_differs_is_noticed(spoil: Callable[[Case], None], where: str) -> None:
    case = Case()
    assert case.differences() == []

    spoil(case)

    assert where in case.differences()


def test_a_dead_connection_may_have_been_asked_once_more() -> None:
    case = Case()
    case.journal.append(received("two", turn=5))

    assert case.differences() == []


def test_who_left_may_have_been_heard_or_not() -> None:
    case = Case()
    case.book.add(Told("three", "three", left=True, sure=False))

    assert case.differences() == []
    case.book.requests["three"].sure = True
    assert case.differences() == ["settled"]


@pytest.mark.parametrize("made", [schedule.chaos, schedule.mixed])
def test_a_schedule_is_the_seeds(made: Callable[[int, float], list[schedule.Step]]) -> None:
    assert made(7, 300) == made(7, 300)
    assert made(7, 300) != made(8, 300)
    assert all(hasattr(Nemeses, step.kind) for step in made(7, 3000))
    assert all(step.at + step.seconds <= 301 for step in made(7, 300))


def test_attempts_are_read_from_a_line() -> None:
    assert Line("call", attempts="a:upstream_error,b:ok").asked == [("a", "upstream_error"), ("b", "ok")]
