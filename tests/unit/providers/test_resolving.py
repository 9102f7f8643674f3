"""Names into addresses where there is little left to do it with."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from app.providers.upstream.resolving import Resolver

MORE_THAN_THERE_IS = 1 << 48
"""Bytes of a thread's stack that no address space has room for."""


@contextmanager
def no_thread_to_be_had() -> Iterator[None]:
    before = threading.stack_size(MORE_THAN_THERE_IS)
    try:
        yield
    finally:
        threading.stack_size(before)


async def test_a_thread_that_could_not_begin_is_waited_for_by_nobody() -> None:
    resolver = Resolver(lambda _: ["127.0.0.1"])

    for _ in range(2):
        with no_thread_to_be_had(), pytest.raises(OSError, match="thread"):
            await resolver.addresses("some.name")

    assert await resolver.addresses("some.name") == ["127.0.0.1"]


async def test_whatever_a_lookup_fails_with_is_told_to_whoever_waits() -> None:
    def broken(_: str) -> Sequence[str]:
        raise MemoryError("none left")

    resolver = Resolver(broken)

    for _ in range(2):
        with pytest.raises(OSError, match="none left"):
            await resolver.addresses("some.name")
