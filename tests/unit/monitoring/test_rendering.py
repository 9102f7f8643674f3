"""Whatever a line is made of, it is one line of bounded length that nobody can forge."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.monitoring.rendering import INDENT, LONGEST, as_json, for_people

people = for_people(colors=False)


class Mute:
    """Cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def in_itself() -> list[Any]:
    made: list[Any] = []
    made.append(made)
    return made


ODD = {
    "mute": Mute(),
    "in itself": in_itself(),
    "half a surrogate": "\ud800",
    "bytes": b"\xff",
    "a set": {1},
    "not a number": float("nan"),
    "long": "x" * 100_000,
    "very large": 2**200,
    "a class": Mute,
    "keys": {(1, 2): 3},
}


def test_a_line_begins_like_that_of_a_call() -> None:
    line = as_json(None, "", {"provider": "p", "event": "happened", "logger": "l", "level": "info", "time": 1.5})

    assert line == '{"time":1.5,"level":"info","event":"happened","logger":"l","provider":"p"}'


def test_what_uvicorn_says_in_colours_is_not_said_twice() -> None:
    event = {"event": "Started", "color_message": "\x1b[36mStarted"}

    assert json.loads(as_json(None, "", dict(event))) == {"event": "Started"}
    assert "36m" not in people(None, "", dict(event))


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
def test_no_value_is_too_odd(value: Any) -> None:
    line = as_json(None, "", {"event": "e", "value": value})

    assert json.loads(line)["event"] == "e"
    assert people(None, "", {"event": "e", "value": value}).startswith("e ")


@given(st.text(), st.text(max_size=5))
def test_a_json_line_is_printable_and_says_what_was_said(text: str, name: str) -> None:
    line = as_json(None, "", {"event": text, f"_{name}": text})

    assert line.isprintable()
    assert json.loads(line)["event"] == text


@given(st.text(), st.text())
def test_a_line_for_people_is_one_line(text: str, name: str) -> None:
    line = people(None, "", {"event": text, "value": text, f"_{name}": text})

    assert line.isprintable()


def test_what_is_outside_the_basic_plane_is_escaped_as_json_does() -> None:
    assert as_json(None, "", {"event": "\U000e0001\u2028é\x7f"}) == r'{"event":"\udb40\udc01\u2028é\u007f"}'


@pytest.mark.parametrize("text", ["x", "\n", "é", "東", "\x1b", "🙂", "\U000e0001"])
@pytest.mark.parametrize("fields", [1, 5, 500])
def test_a_json_line_is_never_longer_than_it_may_be(text: str, fields: int) -> None:
    event = {"event": "e", "level": "info"} | {f"field-{number}": text * 10_000 for number in range(fields)}

    line = as_json(None, "", event)

    assert len(line.encode()) <= LONGEST
    assert json.loads(line)["event"] == "e"
    assert json.loads(line).get("cut", False) == (fields == 500)


def test_of_a_long_exception_beginning_and_end_are_kept() -> None:
    exception = "Traceback\n" + "  line\n" * 5000 + "ValueError: the cause"

    said = json.loads(as_json(None, "", {"event": "e", "exception": exception}))["exception"]

    assert said.startswith("Traceback\n  line")
    assert said.endswith("line\nValueError: the cause")


def test_for_people_an_exception_stands_below_and_indented() -> None:
    exception = "Traceback\n  one\nValueError: no\n00:00:00 [info] forged\r\x1b[2J"

    event = {"time": "12:00:00", "event": "e", "exception": exception, "stack": "Stack"}
    first, *below = people(None, "", event).split("\n")

    assert first == "12:00:00 e"
    assert below.pop(0) == INDENT + "Stack"
    assert below == [
        INDENT + line for line in ("Traceback", "  one", "ValueError: no", r"00:00:00 [info] forged\r\x1b[2J")
    ]


def test_colours_are_ours_alone() -> None:
    line = for_people(colors=True)(None, "", {"time": "12:00:00", "level": "info", "event": "\x1b[31m", "a": "\x1b"})

    assert "\x1b[" in line
    assert r"\x1b[31m" in line
