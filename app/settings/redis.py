"""Addresses of Redis."""

from typing import Literal
from urllib.parse import urlsplit

from msgspec import Struct

REDIS_PORT = 6379
SENTINEL_PORT = 26379
FORMS = (
    "redis://host:port, rediss:// with TLS, unix://path, redis+sentinel://host:port,host:port/service/0 or"
    " redis+cluster://host:port,host:port"
)


class RedisAddress(Struct, frozen=True):
    """`service` is what Sentinel calls the master; a server in a `unix://` socket has no host."""

    kind: Literal["single", "sentinel", "cluster"]
    hosts: tuple[tuple[str, int], ...]
    service: str = ""
    database: int = 0


def redis_address(url: str) -> RedisAddress:
    """Raises ValueError in a sentence, without what may be secret, for what is none."""
    try:
        parts = urlsplit(url)
    except ValueError:  # whose sentence may quote the password
        raise ValueError(f"must be {FORMS}") from None
    scheme, _, kind = parts.scheme.partition("+")
    if parts.scheme == "unix":
        if not parts.path.startswith("/") or parts.path == "/":
            raise ValueError("the path of the socket is missing")
        return RedisAddress("single", ())
    if scheme not in {"redis", "rediss"} or kind not in {"", "sentinel", "cluster"}:
        raise ValueError(f"must be {FORMS}")
    written = parts.netloc.rpartition("@")[2]
    if kind == "sentinel":
        service, _, database = parts.path.strip("/").partition("/")
        if not service:
            raise ValueError("must name the service Sentinel watches, as in redis+sentinel://host:26379/mymaster/0")
        if not (database or "0").isdecimal():
            raise ValueError("the database is no number")
        return RedisAddress("sentinel", _hosts(written, SENTINEL_PORT), service, int(database or "0"))
    if kind == "cluster":
        if parts.path.strip("/") not in {"", "0"}:
            raise ValueError("a cluster has no database but 0")
        return RedisAddress("cluster", _hosts(written, REDIS_PORT))
    return RedisAddress("single", _hosts(written or "localhost", REDIS_PORT, most=1))


def _hosts(written: str, usual: int, *, most: int = 100) -> tuple[tuple[str, int], ...]:
    found = []
    for each in written.split(","):
        parts = urlsplit(f"//{each}")
        try:
            port = parts.port
        except ValueError:
            raise ValueError("a port is no number up to 65535") from None
        if port == 0 or (not parts.hostname and most > 1):
            raise ValueError("a host is missing, or its port is 0")
        found.append((parts.hostname or "localhost", port or usual))
    if len(found) > most:
        raise ValueError("several hosts are redis+sentinel:// or redis+cluster://")
    return tuple(found)
