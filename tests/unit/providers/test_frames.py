"""What httpcore is shown of an HTTP/2 connection, at the moments a socket seldom brings about."""

import httpcore
import pytest

from app.providers.upstream.frames import (
    CANCEL,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    Frames,
    framed,
)
from app.providers.upstream.lanes import STREAMS, Lane
from app.providers.upstream.line import Line

MAX_CONCURRENT_STREAMS = 3


@pytest.fixture
def lane() -> Lane:
    return Lane(STREAMS, shared=True)


@pytest.fixture
def frames(lane: Lane) -> Frames:
    return Frames(lane)


def reset(number: int, code: int) -> bytes:
    return framed(RST_STREAM, number, code.to_bytes(4, "big"))


def goaway(last: int) -> bytes:
    return framed(GOAWAY, 0, last.to_bytes(4, "big") + bytes(4))


def setting(number: int, value: int) -> bytes:
    return number.to_bytes(2, "big") + value.to_bytes(4, "big")


def test_frames_are_shown_whole_however_they_come(frames: Frames) -> None:
    sent = framed(DATA, 1, b"one") + framed(DATA, 1, b"two", END_STREAM)

    shown = [frames.received(sent[place : place + 1]) for place in range(len(sent))]

    assert [each for each in shown if each] == [framed(DATA, 1, b"one"), framed(DATA, 1, b"two", END_STREAM)]


def test_an_end_is_told_to_both_sides_once(frames: Frames, lane: Lane) -> None:
    frames.opened(1, Line(lane))

    frames.end(1)
    frames.end(1)

    assert frames.made_up() == reset(1, CANCEL)
    assert frames.unsent == reset(1, CANCEL)
    assert frames.made_up() == b""


def test_no_end_is_made_up_within_a_header(frames: Frames, lane: Lane) -> None:
    for number in (1, 3):
        frames.opened(number, Line(lane))
    frames.received(framed(HEADERS, 1, b"half"))
    frames.end(3)

    assert frames.made_up() == b""
    frames.received(framed(9, 1, b"and half", END_HEADERS))
    assert frames.made_up() == reset(3, CANCEL)


@pytest.mark.parametrize("early", [True, False])
def test_a_stream_that_ended_is_not_ended_again(frames: Frames, lane: Lane, *, early: bool) -> None:
    if not early:
        frames.opened(1, Line(lane))
    frames.received(framed(HEADERS, 1, b"", END_HEADERS | END_STREAM))
    if early:
        frames.opened(1, Line(lane))

    frames.end(1)

    assert frames.made_up() == b""


def test_a_stream_that_was_on_its_way_when_the_server_left_is_refused(frames: Frames, lane: Lane) -> None:
    began, late = Line(lane), Line(lane)
    frames.opened(1, began)

    assert frames.received(goaway(last=1)) == b""
    frames.opened(3, late)

    assert lane.leaving
    assert frames.made_up() == reset(3, REFUSED_STREAM)
    assert frames.unsent == b""
    assert (began.reset, late.reset) == (None, REFUSED_STREAM)


def test_the_limit_of_streams_is_ours_to_keep(frames: Frames, lane: Lane) -> None:
    first = framed(SETTINGS, 0, setting(MAX_CONCURRENT_STREAMS, 7) + setting(4, 1000))
    shown = framed(SETTINGS, 0, setting(4, 1000) + setting(MAX_CONCURRENT_STREAMS, STREAMS))

    assert frames.received(first) == shown
    assert lane.streams == 7
    assert frames.received(framed(SETTINGS, 0, setting(MAX_CONCURRENT_STREAMS, 2))) == framed(SETTINGS, 0, b"")
    assert lane.streams == 2
    frames.received(framed(SETTINGS, 0, setting(4, 2000)))
    assert lane.streams == 2


def test_a_frame_longer_than_agreed_is_not_waited_for(frames: Frames) -> None:
    with pytest.raises(httpcore.RemoteProtocolError):
        frames.received(b"\xff\xff\xff\x00\x00\x00\x00\x00\x01")


def test_connecting_is_tried_once_for_all_who_wait_for_it(lane: Lane) -> None:
    lane.failed(httpcore.ConnectError())

    assert not lane.free()


def test_a_server_of_http11_has_as_many_connections_as_are_wanted(lane: Lane) -> None:
    lane.speaks_http11()

    lane.failed(httpcore.ConnectError())

    assert lane.free()
