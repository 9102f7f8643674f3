"""Where the time of a request went."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.passage import PHASES, Passage
from app.domain.trace import parse_traceparent, traceparent

MARKS = ("begun", "admitted", "received", "parsed", "looked_up", "routed", "answered", "ended")
WAITS = st.lists(st.floats(min_value=0, max_value=100), min_size=len(MARKS) + 1, max_size=len(MARKS) + 1)


def told(passage: Passage, until: float) -> dict[str, float]:
    phases = zip(PHASES, passage.phases(until), strict=True)
    return {phase: seconds for phase, seconds in phases if seconds is not None}


@given(WAITS, st.sets(st.sampled_from(MARKS[1:])), st.floats(min_value=0, max_value=1))
def test_the_phases_are_the_whole_time_whichever_marks_were_passed(
    waits: list[float], missed: set[str], share: float
) -> None:
    now, marks = 5.0, {}
    for name, wait in zip(MARKS, waits, strict=False):
        now += wait
        if name not in missed:
            marks[name] = now
    if "admitted" in missed:  # who is not let in sends nothing
        marks = {name: mark for name, mark in marks.items() if name not in {"received", "parsed"}}
    if "received" in missed:
        marks.pop("parsed", None)
    passage = Passage(arrived=5.0, **marks)
    if passage.routed and passage.answered:
        passage.connecting = share * (passage.answered - passage.routed)

    phases = told(passage, now + waits[-1])

    assert sum(phases.values()) == pytest.approx(now + waits[-1] - 5.0, abs=1e-6)
    assert all(seconds >= -1e-9 for seconds in phases.values())


@pytest.mark.parametrize(
    ("passed", "phases"),
    [
        ({}, ["queue", "auth", "serialise"]),
        ({"admitted": 2.0}, ["queue", "auth", "serialise"]),
        ({"admitted": 2.0, "received": 3.0}, ["queue", "auth", "parse", "serialise"]),
    ],
)
def test_what_failed_early_has_the_time_until_it_did(passed: dict[str, float], phases: list[str]) -> None:
    passage = Passage(1.0, 1.5, **passed)

    passage.broke(4.0)

    assert list(told(passage, 4.5)) == phases
    assert told(passage, 4.5)["serialise"] == 0.5


def test_a_slow_sender_is_not_our_work() -> None:
    passage = Passage(1.0, 1.0, admitted=1.5, received=61.5, parsed=62.0)

    assert told(passage, 62.0) == {"queue": 60.0, "auth": 0.5, "parse": 0.5, "serialise": 0.0}


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        b"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        b"00-00000000000000000000000000000000-b7ad6b7169203331-01",
        b"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        b"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        b"\xff\xfe",
    ],
)
def test_what_is_no_traceparent_is_none(value: bytes) -> None:
    assert parse_traceparent(value) is None


@pytest.mark.parametrize("sampled", [True, False])
def test_a_traceparent_is_read_as_it_is_written(*, sampled: bool) -> None:
    written = traceparent("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", sampled=sampled)

    assert parse_traceparent(written.encode()) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", sampled)


def test_a_later_version_may_say_more() -> None:
    said = b"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-the-future-will-be-like"

    assert parse_traceparent(said) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", True)
