"""What passes between an HTTP/2 server and httpcore, frame by frame.

httpcore 1.0.9 ends a stream by forgetting it: the server is not told, and the slot stays taken. It ends all streams
of a connection at the first GOAWAY, those too that the server would finish. It waits for ever for a slot where a server
names no limit, or lowers it. Whoever's turn it is to read asks the network, though what others wait for may have come;
they look when it is their turn. So it is shown another picture: a stream is ended by showing it the server's RST_STREAM
while the server is shown ours, GOAWAY is kept from it, its limit never changes, and readers are given something to read
until each whom there is news for has looked. No part of httpcore is touched.
"""

from collections.abc import Iterator
from typing import Protocol

import httpcore

from app.providers.upstream.lanes import STREAMS, Lane

DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 5, 7, 8, 9
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
REFUSED_STREAM, CANCEL = 0x7, 0x8
HEAD_BYTES = 9
NEVER = 0x7FFF_FFFF
"""As the last of all numbers."""
LONGEST = 16_384
"""What we allow a frame to be: HTTP/2's default, which httpcore keeps to."""
MAX_CONCURRENT_STREAMS = (3).to_bytes(2, "big")


def framed(kind: int, number: int, payload: bytes, flags: int = 0) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + number.to_bytes(4, "big") + payload


NOTHING = framed(0xFA, 0, b"")
"""A frame of a kind nobody knows, which has to be ignored."""


class Opened(Protocol):
    """Whose stream it is. `reset` becomes the code with which the server ended it, `due` that there is news for it,
    `closed` that httpcore was shown its RST_STREAM.
    """

    reset: int | None
    due: bool
    closed: bool
    uploading: bool
    waiting: bool


class Frames:
    """The frames of one connection; does no input or output itself.

    `unsent` is what the server has yet to be told.
    """

    def __init__(self, lane: Lane) -> None:
        self.unsent = b""
        self._lane = lane
        self._open: dict[int, Opened] = {}
        """By number, those the server has not ended."""
        self._highest = 0
        self._early: set[int] = set()
        """Those it ended before we heard that they were opened."""
        self._answered: set[int] = set()
        """Those it ended before it had the whole request: for us they are open until the upload is done."""
        self._last = NEVER
        self._held = b""
        self._greeted = False
        self._in_block = False
        self._ending: dict[int, int] = {}
        self._due: list[Opened] = []

    def opened(self, number: int, whose: Opened) -> None:
        self._highest = max(self._highest, number)
        if number in self._early:
            self._early.discard(number)
            return
        self._open[number] = whose
        if number > self._last:
            self.end(number, REFUSED_STREAM)

    def forget(self, number: int) -> None:
        self._open.pop(number, None)
        self._answered.discard(number)

    def end(self, number: int, code: int = CANCEL) -> None:
        """Let the stream end for both sides, as soon as httpcore reads."""
        if number in self._open:
            self._ending.setdefault(number, code)

    def made_up(self) -> bytes:
        """The ends of streams for httpcore to read now; between the parts of a header nothing may stand."""
        if self._in_block or not self._ending:
            return b""
        ending, self._ending = self._ending, {}
        shown = b""
        for number, code in ending.items():
            whose = self._open.get(number)
            ended = number in self._answered and not (whose and whose.uploading)
            self.forget(number)
            if whose is None or ended:
                continue
            self._tell(whose)
            whose.closed = True
            reset = framed(RST_STREAM, number, code.to_bytes(4, "big"))
            shown += reset
            if code == CANCEL:
                self.unsent += reset
            else:
                whose.reset = code
        return shown

    def others_due(self, reader: Opened | None) -> bool:
        """Somebody else waits for what httpcore has already seen, and has to have a turn."""
        self._due = [each for each in self._due if each.due]
        return any(each.waiting and each is not reader for each in self._due)

    def _tell(self, whose: Opened) -> None:
        if not whose.due:
            whose.due = True
            self._due.append(whose)

    def received(self, data: bytes) -> bytes:
        """Of what the server sent, what httpcore is to see, in whole frames."""
        return b"".join(self._shown(each) for each in self._whole(self._held + data))

    def _whole(self, data: bytes) -> Iterator[bytes]:
        start = 0
        while len(data) - start >= HEAD_BYTES:
            length = int.from_bytes(data[start : start + 3], "big")
            if length > LONGEST:
                raise httpcore.RemoteProtocolError("a frame longer than agreed")
            end = start + HEAD_BYTES + length
            if end > len(data):
                break
            yield data[start:end]
            start = end
        self._held = data[start:]

    def _shown(self, each: bytes) -> bytes:
        kind, flags = each[3], each[4]
        number = int.from_bytes(each[5:9], "big") & NEVER
        if kind in (HEADERS, PUSH_PROMISE, CONTINUATION):
            self._in_block = not flags & END_HEADERS
        if (whose := self._open.get(number)) is not None:
            self._tell(whose)
        if kind == RST_STREAM or (kind in (DATA, HEADERS) and flags & END_STREAM):
            self._ended(number, int.from_bytes(each[HEAD_BYTES:], "big") if kind == RST_STREAM else None)
        elif kind == WINDOW_UPDATE:
            self._let_upload()
        elif kind == GOAWAY:
            self._leaving(each[HEAD_BYTES:])
            return b""
        elif kind == SETTINGS and not flags & ACK:
            self._let_upload()
            return self._settings(each[HEAD_BYTES:])
        return each

    def _ended(self, number: int, code: int | None) -> None:
        whose = self._open.get(number)
        if whose is None:
            if number > self._highest:
                self._early.add(number)
        elif code is None and whose.uploading:
            self._answered.add(number)
        else:
            whose.reset = code
            whose.closed = code is not None
            self.forget(number)

    def _let_upload(self) -> None:
        for each in self._open.values():
            if each.uploading:
                self._tell(each)

    def _leaving(self, payload: bytes) -> None:
        """Streams the server has not looked at it never will; the others it ends as it would have."""
        self._lane.leaving = True
        self._last = int.from_bytes(payload[:4], "big") & NEVER
        for number in self._open:
            if number > self._last:
                self.end(number, REFUSED_STREAM)

    def _settings(self, payload: bytes) -> bytes:
        """The limit of streams is the lane's to keep; httpcore is told the same one, once."""
        settings = [payload[start : start + 6] for start in range(0, len(payload), 6)]
        said = [int.from_bytes(each[2:], "big") for each in settings if each[:2] == MAX_CONCURRENT_STREAMS]
        if said or not self._greeted:
            self._lane.streams = max(1, min([*said, STREAMS]))
        shown = [each for each in settings if each[:2] != MAX_CONCURRENT_STREAMS]
        if not self._greeted:
            self._greeted = True
            shown.append(MAX_CONCURRENT_STREAMS + STREAMS.to_bytes(4, "big"))
        return framed(SETTINGS, 0, b"".join(shown))
