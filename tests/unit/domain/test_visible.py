"""Text of others as one line that can be seen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.visible import shortened, visible


@pytest.mark.parametrize("text", ["", "plain text", "Größe 東京 🙂", "back\\slash", "'quoted' \"twice\""])
def test_what_can_be_seen_is_left_alone(text: str) -> None:
    assert visible(text) is text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a\nb", r"a\nb"),
        ("a\r\tb", r"a\r\tb"),
        ("\x1b[31m", r"\x1b[31m"),
        ("\x9b2J\x7f\x00", r"\x9b2J\x7f\x00"),
        ("\u2028\u202e\u200b", r"\u2028\u202e\u200b"),
        ("\ud800", r"\ud800"),
        ("\U000e0001", r"\U000e0001"),
    ],
)
def test_what_cannot_is_written_out(text: str, written: str) -> None:
    assert visible(text) == written


@given(st.text())
def test_it_is_always_one_printable_line(text: str) -> None:
    assert visible(text).isprintable()
    assert len(visible(text).splitlines()) <= 1


def test_long_text_keeps_its_ends_and_says_what_is_missing() -> None:
    assert shortened("abc", 3) == "abc"
    assert shortened("beginning" + "x" * 91 + "end", 20) == "beginningx [83 characters left out] xxxxxxxend"
