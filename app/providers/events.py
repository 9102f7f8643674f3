"""Server-sent events as they come from a provider: cut into whole events, nothing joined, nothing parsed."""

from collections.abc import Iterator

LONGEST = 1024 * 1024

USAGE = b'"usage"'
FINISH_REASON = b'"finish_reason"'
ERROR = b'"error"'

_DONE = (b"data: [DONE]", b"data:[DONE]")


def tells(events: bytes, mark: bytes) -> bool:
    """Whether a field is something other than null; `mark` is its name in quotes."""
    return mark in events and events.count(mark) != events.count(mark + b":null")


def telling(events: bytes, *marks: bytes) -> Iterator[tuple[int, int]]:
    """Where the events are in which one of the fields is something other than null: begin and end, in order.

    Nearly all events of a stream say nothing but their text, so only those that do are ever parsed.
    """
    for mark in marks:
        null = mark + b":null"
        events = events.replace(null, b" " * len(null))
    places = {mark: at for mark in marks if (at := events.find(mark)) >= 0}
    while places:
        first = min(places.values())
        before = events.rfind(b"\n\n", 0, first)
        after = events.find(b"\n\n", first)
        end = len(events) if after < 0 else after + 2
        yield (0 if before < 0 else before + 2), end
        # only what was passed is looked for again: else the time would grow with the square of the length
        found = {mark: events.find(mark, end) if at < end else at for mark, at in places.items()}
        places = {mark: at for mark, at in found.items() if at >= 0}


class EventCutter:
    """Bytes in as they arrive, whole events out; line ends LF, comments and `[DONE]` removed.

    The grammar is WHATWG's (HTML, "Server-sent events"). No pattern is searched for over the payload: only
    `find`, `in` and the like, which cost nothing beside the system call that brought the bytes.
    """

    __slots__ = ("_half", "_rest", "done", "too_long")

    def __init__(self) -> None:
        self._rest = bytearray()
        self._half = False
        self.done = False
        self.too_long = False
        """More than `LONGEST` bytes have come without the end of an event: nothing more should be fed."""

    def feed(self, piece: bytes) -> bytes:
        """The events that `piece` completes; nothing more comes once `done`."""
        if self.done:
            return b""
        if self._half or b"\r" in piece:
            piece = self._in_line_feeds(piece)
        if not self._rest and piece.endswith(b"\n\n"):
            return self._cleaned(piece)
        end = piece.rfind(b"\n\n") + 2
        if end == 1:  # not in it: perhaps where it begins
            end = int(piece.startswith(b"\n") and self._rest.endswith(b"\n"))
        if not end:  # what is kept is not looked at again: one may send a megabyte byte by byte
            self._rest += piece
            self.too_long = len(self._rest) > LONGEST
            return b""
        events = b"".join((self._rest, piece[:end]))
        self._rest = bytearray(piece[end:])
        self.too_long = len(self._rest) > LONGEST
        return self._cleaned(events)

    def finish(self) -> bytes:
        """What the end of the stream completes; `pending` tells whether something is left over."""
        rest = bytes(self._rest) + b"\n" * self._half
        self._rest.clear()
        if rest.endswith(b"\n\n"):
            return self._cleaned(rest)
        if rest.strip(b"\n").strip(b" \t") in _DONE:
            self.done = True
        elif not self.done:
            self._rest += rest.strip(b"\n")
        return b""

    @property
    def pending(self) -> bool:
        return bool(self._rest) and not self._rest.startswith(b":")

    def _in_line_feeds(self, piece: bytes) -> bytes:
        if self._half:
            piece = b"\r" + piece
        self._half = piece.endswith(b"\r")  # perhaps the first half of a CRLF
        if self._half:
            piece = piece[:-1]
        return piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _cleaned(self, events: bytes) -> bytes:
        if events[:1] == b"\n":
            events = events.lstrip(b"\n")
        if b"[DONE]" in events:
            events = self._before_done(events)
        if events[:1] == b":" or b"\n:" in events:
            events = _without_comments(events)
        return events

    def _before_done(self, events: bytes) -> bytes:
        """The events before the first `[DONE]`, in whichever spelling."""
        lines = (mark + b"\n" for mark in _DONE)
        places = [0 if events.startswith(line) else events.find(b"\n" + line) for line in lines]
        at = min((place for place in places if place >= 0), default=-1)
        if at < 0:
            return events
        self.done = True
        self._rest.clear()
        self._half = False
        end = events.rfind(b"\n\n", 0, at + 1)
        return events[: end + 2] if end >= 0 else b""


def payloads(events: bytes) -> list[bytes]:
    """The data of each event, its lines joined as the grammar says."""
    found = []
    for event in events.split(b"\n\n"):
        lines = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
        if lines:
            found.append(b"\n".join(lines))
    return found


def _without_comments(events: bytes) -> bytes:
    blocks = []
    for block in events.split(b"\n\n"):
        lines = [line for line in block.split(b"\n") if line and line[:1] != b":"]
        if lines:
            blocks.append(b"\n".join(lines) + b"\n\n")
    return b"".join(blocks)
