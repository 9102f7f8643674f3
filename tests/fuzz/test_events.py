"""Streams of providers: whatever arrives, however it is cut, means what a plain reading of the standard says."""

from collections.abc import Iterator

from app.providers.events import ERROR, FINISH_REASON, USAGE, EventCutter, payloads, telling, tells
from tests.fuzz.mutating import fuzzed, pieces

DONE = (b"data: [DONE]", b"data:[DONE]")
MARKS = (USAGE, FINISH_REASON, ERROR)


def lines_of(stream: bytes) -> tuple[list[bytes], bytes]:
    """Whole lines, and what is behind the last line end; CR, LF and CRLF end one (HTML, "Server-sent events")."""
    lines = stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    return lines[:-1], lines[-1]


def blocks_of(stream: bytes) -> tuple[list[list[bytes]], list[bytes]]:
    """The lines of each whole event without comments, and those of the one that has no end."""
    lines, rest = lines_of(stream)
    blocks: list[list[bytes]] = []
    block: list[bytes] = []
    for line in lines:
        if line == b"":
            blocks.append(block)
            block = []
        else:
            block.append(line)
    return blocks, [*block, rest] if rest else block


def plain(stream: bytes) -> tuple[list[list[bytes]], bool]:
    """The events of a stream before its `[DONE]`, each its lines without comments, and whether that came."""
    blocks, rest = blocks_of(stream)
    found: list[list[bytes]] = []
    for block in blocks:
        if any(line in DONE for line in block):
            return found, True
        if lines := [line for line in block if not line.startswith(b":")]:
            found.append(lines)
    return found, len(rest) == 1 and rest[0].strip(b" \t") in DONE


def fed(stream: list[bytes]) -> tuple[bytes, EventCutter]:
    cutter = EventCutter()
    out = [cutter.feed(piece) for piece in stream]
    assert all(event == b"" or event.endswith(b"\n\n") for event in out), out
    assert not cutter.too_long
    return b"".join([*out, cutter.finish()]), cutter


@fuzzed("events", split=True)
def test_events_are_those_of_the_standard_however_they_arrive(data: bytes, places: list[int]) -> None:
    out, cutter = fed(pieces(data, places))

    assert b"\r" not in out
    events, done = plain(data)
    assert ([block for block in blocks_of(out)[0] if block], cutter.done) == (events, done)
    if done:
        assert not cutter.pending
        assert cutter.feed(b"data: late\n\n") == b""


@fuzzed("events")
def test_what_tells_something_is_found_in_its_event_and_in_no_other(data: bytes) -> None:
    out, _ = fed([data])

    for marks in (MARKS, *((mark,) for mark in MARKS)):
        found = [out[begin:end] for begin, end in telling(out, *marks)]
        assert found == [event for event in _events(out) if any(tells(event, mark) for mark in marks)]


@fuzzed("events")
def test_payloads_are_the_data_of_events(data: bytes) -> None:
    out, _ = fed([data])

    events, _ = plain(data)
    assert payloads(out) == [_data(lines) for lines in events if any(line.startswith(b"data:") for line in lines)]


def _events(out: bytes) -> Iterator[bytes]:
    """Each with its end; of more than one empty line between two, the others belong to neither."""
    yield from (each.lstrip(b"\n") + b"\n\n" for each in out.split(b"\n\n")[:-1])


def _data(lines: list[bytes]) -> bytes:
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))
