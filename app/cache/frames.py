"""How an answer lies in a store that others can write to."""

import hmac
from hashlib import sha256

PLAIN = b"sb1p"
SEALED = b"sb1s"
"""Version 1 of the format, without and with a seal."""

SEAL_BYTES = 32
MOST_AROUND = 4096
"""Bytes of a value that are not the answer's body."""


class ForeignValueError(Exception):
    """It is not ours; its text is the reason, one of `format`, `seal`, `size`."""


class Frames:
    """With a `seal_key`, values carry an HMAC-SHA256 of their key and content, and none without it is taken.

    So whoever can write to the store but does not know the key can make misses, not answers; nor can an answer be
    moved to another question's key.
    """

    def __init__(self, *, max_body_bytes: int, seal_key: str = "") -> None:
        self._seal_key = seal_key.encode()
        self._start = SEALED if seal_key else PLAIN
        self._head = len(self._start) + (SEAL_BYTES if seal_key else 0)
        self._most = self._head + max_body_bytes + MOST_AROUND

    def wrapped(self, key: bytes, value: bytes) -> bytes:
        return self._start + (self._seal(key, value) if self._seal_key else b"") + value

    def opened(self, key: bytes, stored: object) -> bytes:
        """Raises ForeignValueError."""
        if not isinstance(stored, bytes):
            raise ForeignValueError("format")
        if len(stored) > self._most:
            raise ForeignValueError("size")
        if len(stored) < self._head or not stored.startswith(self._start):
            raise ForeignValueError("format")
        value = stored[self._head :]
        if self._seal_key and not hmac.compare_digest(stored[len(SEALED) : self._head], self._seal(key, value)):
            raise ForeignValueError("seal")
        return value

    def _seal(self, key: bytes, value: bytes) -> bytes:
        return hmac.digest(self._seal_key, SEALED + key + value, sha256)
