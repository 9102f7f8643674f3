"""Names into addresses where there is little left to do it with."""

import asyncio
import errno
import gc
import os
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from app.domain.errors import CapacityError
from app.domain.upstream_errors import UpstreamTimeoutError
from app.providers.upstream.base import Limits
from app.providers.upstream.httpx import HttpxUpstream
from app.providers.upstream.resolving import Lookup, Resolver
from tests.support.waiting import until

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


def without_descriptors(_: str) -> Sequence[str]:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


async def connected(address: str) -> str:
    return address


async def without_socket(address: str) -> str:
    return without_descriptors(address)[0]


@pytest.mark.parametrize(
    ("host", "lookup", "connect"),
    [("a.name", without_descriptors, connected), ("a.name", lambda _: ["::1", "127.0.0.1"], without_socket)],
    ids=["for the name", "for the connection"],
)
async def test_our_own_want_of_descriptors_is_no_failure_of_the_provider(
    host: str, lookup: Lookup, connect: Callable[[str], Awaitable[str]]
) -> None:
    with pytest.raises(CapacityError, match="no file descriptors"):
        await Resolver(lookup).connected(host, 5, connect)


async def test_who_gave_up_before_that_was_known_is_told_by_nobody_else() -> None:
    gate, told = threading.Event(), list[Any]()

    def late(name: str) -> Sequence[str]:
        gate.wait(30)
        return without_descriptors(name)

    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    limits = Limits(first_byte=0.05)
    upstream = HttpxUpstream(
        provider="p", base_url="http://a.name/", headers={}, limits=limits, resolver=Resolver(late)
    )
    with pytest.raises(UpstreamTimeoutError):
        await upstream.send("POST", "chat", b"{}")
    gate.set()
    await until(lambda: not upstream.load().active)
    await upstream.aclose()
    gc.collect()

    assert told == []
