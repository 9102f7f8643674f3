"""The cutter gives the same events however the bytes arrive."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.providers.events import FINISH_REASON, LONGEST, USAGE, EventCutter, payloads, telling, tells

TEXT = st.text(st.characters(blacklist_characters="\r\n", blacklist_categories=("Cs",)), max_size=40)
LINE_END = st.sampled_from(["\n", "\r\n", "\r"])


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """A well-formed stream, comments and all, and the payloads it carries."""
    end = draw(LINE_END)
    written, carried = "", []
    for _ in range(draw(st.integers(0, 6))):
        for comment in draw(st.lists(TEXT, max_size=2)):
            written += f":{comment}{end}" + draw(st.sampled_from(["", end]))
        lines = draw(st.lists(TEXT, min_size=1, max_size=3))
        space = draw(st.sampled_from(["", " "]))
        if space == "":
            lines = [line.removeprefix(" ") for line in lines]
        if draw(st.booleans()):
            written += f"event: message{end}"
        written += "".join(f"data:{space}{line}{end}" for line in lines) + end
        carried.append("\n".join(lines).encode())
    return written.encode(), [each for each in carried if each != b"[DONE]"]


def cut(stream: bytes, places: list[int]) -> tuple[list[bytes], EventCutter]:
    cutter = EventCutter()
    edges = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    pieces = [stream[start:end] for start, end in itertools.pairwise(edges)]
    events = [cutter.feed(piece) for piece in pieces]
    events.append(cutter.finish())
    return events, cutter


@given(streams(), st.lists(st.integers(min_value=0), max_size=30))
def test_the_payloads_do_not_depend_on_where_the_bytes_were_cut(
    stream: tuple[bytes, list[bytes]], places: list[int]
) -> None:
    written, carried = stream

    events, cutter = cut(written, places)

    assert payloads(b"".join(events)) == carried
    assert all(event == b"" or event.endswith(b"\n\n") for event in events)
    assert not cutter.pending


@given(streams(), st.lists(st.integers(min_value=0), max_size=30))
def test_nothing_comes_after_done(stream: tuple[bytes, list[bytes]], places: list[int]) -> None:
    written, carried = stream

    events, cutter = cut(written + b"data: [DONE]\n\ndata: late\n\n", places)

    assert cutter.done
    assert payloads(b"".join(events)) == carried


@pytest.mark.parametrize(
    "end", [b"data: [DONE]", b"data:[DONE]\n", b"data: [DONE]\r\n", b"event: done\ndata: [DONE]\n\n"]
)
def test_done_is_recognised_however_it_is_written(end: bytes) -> None:
    cutter = EventCutter()

    events = cutter.feed(b"data: 1\n\n" + end) + cutter.finish()

    assert cutter.done
    assert payloads(events) == [b"1"]


def test_the_first_done_ends_the_stream_in_whichever_spelling() -> None:
    cutter = EventCutter()

    events = cutter.feed(b"data: 1\n\ndata:[DONE]\n\ndata: late\n\ndata: [DONE]\n\n")

    assert cutter.done
    assert events == b"data: 1\n\n"


def test_the_word_done_inside_a_payload_ends_nothing() -> None:
    cutter = EventCutter()

    events = cutter.feed(b'data: {"text":"data: [DONE]"}\n\n')

    assert not cutter.done
    assert payloads(events) == [b'{"text":"data: [DONE]"}']


@pytest.mark.parametrize("left", [b"data: hal", b"data: \xc3", b"data: whole line\n", b"event: x\n"])
def test_what_is_not_ended_is_pending_and_not_an_event(left: bytes) -> None:
    cutter = EventCutter()

    events = cutter.feed(b"data: 1\n\n" + left) + cutter.finish()

    assert payloads(events) == [b"1"]
    assert cutter.pending


def test_an_event_without_an_end_is_not_kept_for_ever() -> None:
    cutter = EventCutter()
    cutter.feed(b"data: " + b"x" * (LONGEST - 10))

    assert not cutter.too_long
    cutter.feed(b"x" * 20)

    assert cutter.too_long


SAYING = b'data: {"choices":[{"delta":{"content":"x"},"finish_reason":null}],"usage":null}\n\n'
ENDING = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}],"usage":null}\n\n'
BILLING = b'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\n'


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ([SAYING, SAYING], []),
        ([ENDING], [0]),
        ([SAYING, ENDING, SAYING, BILLING], [1, 3]),
        ([ENDING, BILLING], [0, 1]),
        ([SAYING.replace(b'"finish_reason":null', b'"finish_reason": null')], [0]),
        ([b'data: {"choices":[{"delta":{"content":"say \\"usage\\""},"finish_reason":null}]}\n\n'], []),
    ],
)
def test_events_that_tell_something_are_found_and_no_others(events: list[bytes], found: list[int]) -> None:
    whole = b"".join(events)

    spans = list(telling(whole, USAGE, FINISH_REASON))

    assert [whole[begin:end] for begin, end in spans] == [events[place] for place in found]
    assert (tells(whole, USAGE) or tells(whole, FINISH_REASON)) is bool(found)


@given(st.lists(st.sampled_from([SAYING, ENDING, BILLING]), max_size=12))
def test_whatever_is_between_them(events: list[bytes]) -> None:
    whole = b"".join(events)

    assert [whole[begin:end] for begin, end in telling(whole, USAGE, FINISH_REASON)] == [
        each for each in events if each is not SAYING
    ]
