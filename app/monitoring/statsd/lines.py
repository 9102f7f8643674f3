"""Statsd's lines: DogStatsD's with tags, or plain ones that carry label values in the name."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from app.monitoring.exposition import number

Pairs = tuple[tuple[str, str], ...]

MOST_REMEMBERED = 8192
EMPTY = "_"

_not_in_tags = re.compile(r"[|:,#@\s\x00-\x1f\x7f]")
_not_in_names = re.compile(r"[^A-Za-z0-9_-]")


class Dialect:
    """`tags` are sent with every line; None where the server knows none."""

    def __init__(self, prefix: str, tags: Sequence[str] | None) -> None:
        self._prefix = prefix
        self._tags = tags
        self._ends = lru_cache(MOST_REMEMBERED)(self._made)

    def count(self, name: str, labels: Pairs, amount: float) -> bytes:
        head, tail = self._ends(name, labels)
        return b"%b%b|c%b" % (head, number(amount), tail)

    def gauge(self, name: str, labels: Pairs, value: float) -> bytes:
        """For plain statsd a sign means a change: what is negative is set to 0 before, in the same datagram."""
        head, tail = self._ends(name, labels)
        line = b"%b%b|g%b" % (head, number(value), tail)
        return b"%b0|g\n%b" % (head, line) if value < 0 and self._tags is None else line

    def timings(
        self, name: str, labels: Pairs, seconds: Sequence[float], *, rate: float, limit: int
    ) -> Iterator[tuple[int, bytes]]:
        """Lines of at most `limit` bytes, each with how many of `seconds` it takes; `rate` of all calls are there.

        Plain timers are milliseconds, and their name has no unit.
        """
        sampled = b"|@" + number(rate) if rate < 1 else b""
        if self._tags is None:
            head, _ = self._ends(name.removesuffix("_seconds"), labels)
            for each in seconds:
                yield 1, b"%b%b|ms%b" % (head, number(round(each * 1000, 3)), sampled)
            return
        head, tail = self._ends(name, labels)
        end = b"|d%b%b" % (sampled, tail)
        taken, written = 0, b""
        for each in seconds:
            text = number(each)
            if written and len(head) + len(written) + 1 + len(text) + len(end) > limit:
                yield taken, head + written + end
                taken, written = 0, b""
            taken, written = taken + 1, written + b":" + text if written else text
        if written:
            yield taken, head + written + end

    def _made(self, name: str, labels: Pairs) -> tuple[bytes, bytes]:
        """A line up to its value, and from its type on."""
        if self._tags is None:
            parts = [f"{self._prefix}{name}", *(_not_in_names.sub("_", value) or EMPTY for _, value in labels)]
            return f"{'.'.join(parts)}:".encode("utf-8", "replace"), b""
        tags = [*self._tags, *(f"{key}:{tag(value)}" for key, value in labels)]
        tail = f"|#{','.join(tags)}" if tags else ""
        return f"{self._prefix}{name}:".encode(), tail.encode("utf-8", "replace")


def tag(value: str) -> str:
    """A label's value without what would end it, or the line, before its time."""
    return _not_in_tags.sub("_", value) or EMPTY
