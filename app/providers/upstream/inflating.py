"""Plain bytes from a compressed answer: providers are asked for none, but some insist."""

import zlib

IDENTITY = frozenset({b"", b"identity"})
ENCODINGS = frozenset({b"gzip", b"x-gzip", b"deflate"})

_EITHER_HEADER = 47  # zlib's and gzip's, told apart by zlib itself


class InflatingError(Exception):
    """The bytes are not what their encoding says, or they grow beyond the limit."""


class Inflater:
    """Bytes in, at most `limit` bytes out in all: a few kilobytes may stand for gigabytes."""

    def __init__(self, limit: int) -> None:
        self._inflate = zlib.decompressobj(_EITHER_HEADER)
        self._left = limit

    def feed(self, piece: bytes) -> bytes:
        """What `piece` stands for; raises InflatingError, also for what follows the end: zlib would keep all of it."""
        try:
            plain = self._inflate.decompress(piece, self._left + 1)
        except zlib.error as error:
            raise InflatingError(str(error)) from None
        self._left -= len(plain)
        if self._inflate.unused_data:
            raise InflatingError("it goes on behind its end")
        if self._left < 0:
            raise InflatingError("it grows beyond the limit")
        return plain

    @property
    def ended(self) -> bool:
        return self._inflate.eof
