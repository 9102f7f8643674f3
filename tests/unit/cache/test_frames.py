"""What others put under our keys is not taken for ours."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cache.frames import MOST_AROUND, PLAIN, SEALED, ForeignValueError, Frames

KEY, OTHER = b"k" * 32, b"o" * 32
SEAL_KEY = "a secret of some length"
OPEN = Frames(max_body_bytes=1000)
CLOSED = Frames(max_body_bytes=1000, seal_key=SEAL_KEY)


def reason_of(frames: Frames, key: bytes, stored: object) -> str:
    with pytest.raises(ForeignValueError) as caught:
        frames.opened(key, stored)
    return str(caught.value)


@given(st.binary(max_size=500))
def test_what_was_wrapped_is_opened(value: bytes) -> None:
    assert OPEN.opened(KEY, OPEN.wrapped(KEY, value)) == value
    assert CLOSED.opened(KEY, CLOSED.wrapped(KEY, value)) == value


@given(st.binary(max_size=200), st.data())
def test_whatever_is_changed_breaks_the_seal(value: bytes, data: st.DataObject) -> None:
    stored = bytearray(CLOSED.wrapped(KEY, value))
    place = data.draw(st.integers(0, len(stored) - 1))
    stored[place] ^= data.draw(st.integers(1, 255))

    assert reason_of(CLOSED, KEY, bytes(stored)) == ("format" if place < len(SEALED) else "seal")


def test_a_sealed_answer_cannot_be_moved_to_another_question() -> None:
    assert reason_of(CLOSED, OTHER, CLOSED.wrapped(KEY, b"value")) == "seal"


def test_another_secret_seals_otherwise() -> None:
    theirs = Frames(max_body_bytes=1000, seal_key="another secret, as long")

    assert reason_of(CLOSED, KEY, theirs.wrapped(KEY, b"value")) == "seal"


@pytest.mark.parametrize("stored", [b"", b"sb", PLAIN + b"value", SEALED, SEALED + b"s" * 31, b"\x97", [b"x"], 7])
def test_without_a_seal_it_is_not_ours(stored: object) -> None:
    assert reason_of(CLOSED, KEY, stored) == "format"


@pytest.mark.parametrize("stored", [b"", b"sb1", b"\x97", SEALED + b"s" * 32 + b"value", "text"])
def test_without_a_secret_the_format_still_counts(stored: object) -> None:
    assert reason_of(OPEN, KEY, stored) == "format"


def test_what_is_longer_than_any_answer_is_not_looked_at() -> None:
    assert reason_of(OPEN, KEY, PLAIN + b"x" * (1001 + MOST_AROUND)) == "size"
