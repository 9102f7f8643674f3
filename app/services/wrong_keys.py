"""Who brings one wrong key after the other is told to slow down."""

import time
from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network, ip_address

MOST_ADDRESSES = 4096
WINDOW_SECONDS = 60.0
HOME = 64
"""Bits of an IPv6 address that are one customer's; the rest of them changes as he likes."""
LONGEST_NAME = 64


class WrongKeys:
    """Counts wrong keys by the address of the connection, which no header changes; per process.

    A right key never comes here, so who shares an address with a guesser (behind a proxy everybody does) is served.
    Each address may bring `per_minute` at once and gets them back evenly; with 0 nobody is ever late. At most
    `MOST_ADDRESSES` are remembered, and the one that was quiet for longest is forgotten first.
    """

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._cost = WINDOW_SECONDS / per_minute if per_minute else 0.0
        self._clock = clock
        self._paid_until: dict[str, float] = {}
        """When what an address has used up is all given back, the address that came last at the end."""

    def late(self, client: tuple[str, int] | None) -> float:
        """Count one more of `client`; 0, or where it was one too many, after how many seconds the next is heard."""
        if not self._cost:
            return 0.0
        now, address = self._clock(), _whose(client)
        until = max(self._paid_until.pop(address, now), now)
        wait = until + self._cost - now - WINDOW_SECONDS
        late = wait > 1e-6  # what floats leave over is not late
        self._paid_until[address] = until if late else until + self._cost
        if len(self._paid_until) > MOST_ADDRESSES:
            del self._paid_until[next(iter(self._paid_until))]
        return wait if late else 0.0

    def __len__(self) -> int:
        """How many addresses are remembered."""
        return len(self._paid_until)


def _whose(client: tuple[str, int] | None) -> str:
    """The address, of IPv6 its first half; a Unix socket's callers are one."""
    host = client[0] if client else ""
    try:
        address = ip_address(host)
    except ValueError:
        return host[:LONGEST_NAME]
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Network((int(address), HOME), strict=False))
