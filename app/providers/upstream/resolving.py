"""Names into addresses, in threads that nobody else waits for.

The loop's own lookups share four threads (uvloop; asyncio has six on two processors) among all providers: one name
whose servers are silent for half a minute takes them all, and with them `localhost`.
"""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from threading import Thread
from typing import TypeVar

from app.domain.errors import CapacityError

T = TypeVar("T")
NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
"""Our own want, which tells nothing against a provider."""
Lookup = Callable[[str], Sequence[str]]


def system_lookup(host: str) -> Sequence[str]:
    """Blocks; raises OSError."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Resolver:
    """Of one provider: one lookup of a name at a time, and nothing is kept, so that a new address is seen at once."""

    def __init__(self, lookup: Lookup = system_lookup) -> None:
        self._lookup = lookup
        self._running: dict[str, asyncio.Future[Sequence[str] | OSError]] = {}
        self._worked: dict[str, str] = {}

    async def addresses(self, host: str) -> Sequence[str]:
        """Of `host`, the one that worked last first; raises OSError. Waits as long as the system does."""
        with suppress(ValueError):
            return [str(ip_address(host))]
        found = await asyncio.shield(self._running.get(host) or self._begun(host))
        if isinstance(found, OSError):
            raise type(found)(*found.args)  # for each of those who wait its own, or they would share a traceback
        return sorted(found, key=lambda address: address != self._worked.get(host))

    async def connected(self, host: str, seconds: float, connect: Callable[[str], Awaitable[T]]) -> T:
        """What `connect` makes of the first address that takes it.

        Raises OSError, TimeoutError among them, or CapacityError where it is we who have nothing left to connect with.
        An address that is silent costs its share of the `seconds`, and is not the first one asked the next time.
        """
        try:
            return await self._connected(host, seconds, connect)
        except OSError as error:
            if error.errno in NO_DESCRIPTORS:
                raise CapacityError("no file descriptors are left", retry_after=1) from None
            raise

    async def _connected(self, host: str, seconds: float, connect: Callable[[str], Awaitable[T]]) -> T:
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        async with asyncio.timeout_at(due):
            addresses = await self.addresses(host)
        for left in range(len(addresses), 0, -1):
            address = addresses[-left]
            try:
                async with asyncio.timeout_at(loop.time() + (due - loop.time()) / left):
                    made = await connect(address)
            except OSError:
                if left == 1:
                    raise
            else:
                self._worked[host] = address
                return made
        raise OSError("the name has no address")

    def _begun(self, host: str) -> "asyncio.Future[Sequence[str] | OSError]":
        """Raises OSError where there is no thread to be had: what was not begun must not be waited for."""
        loop = asyncio.get_running_loop()
        running: asyncio.Future[Sequence[str] | OSError] = loop.create_future()

        def told(found: Sequence[str] | OSError) -> None:
            del self._running[host]
            running.set_result(found)

        def look_up() -> None:
            try:
                found: Sequence[str] | OSError = self._lookup(host)
            except OSError as error:
                found = error
            except Exception as error:  # noqa: BLE001 - such as a name that cannot be one: all of them are waited for
                found = OSError(str(error))
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(told, found)

        try:
            Thread(target=look_up, name=f"lookup of {host}", daemon=True).start()
        except RuntimeError as error:
            raise OSError(str(error)) from None
        self._running[host] = running
        return running
