"""Clients of Redis, made of an address: a server's, Sentinel's or a cluster's."""

from typing import Any
from urllib.parse import SplitResult, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from app.settings import CacheSettings, RedisAddress, redis_address

CONNECTIONS = 64
SOCKET_SECONDS = 1.0
SENTINEL_SECONDS = 0.25
"""Sentinels are asked one after the other, dead ones too."""


def client_for(settings: CacheSettings) -> Any:
    """Fails at once instead of by redis-py's own patience of ten retries and five seconds each."""
    address = redis_address(settings.url)
    url = urlsplit(settings.url)
    options: dict[str, Any] = {
        "socket_timeout": SOCKET_SECONDS,
        "socket_connect_timeout": SOCKET_SECONDS,
        "retry": Retry(NoBackoff(), 0),
    }
    if url.scheme.startswith("rediss") and settings.ca_file:
        options["ssl_ca_certs"] = settings.ca_file
    if address.kind == "sentinel":
        return _by_sentinel(url, address, options)
    if address.kind == "cluster":
        return _cluster(url, address, options)
    pool = BlockingConnectionPool.from_url(
        str(settings.url), **{"max_connections": CONNECTIONS, "timeout": settings.timeout_seconds} | options
    )
    return Redis.from_pool(pool)


def _by_sentinel(url: SplitResult, address: RedisAddress, options: dict[str, Any]) -> Redis:
    """User and password are the server's, as is the database; Sentinel's own stand in the query."""
    given = _given(url)
    asked = {
        name.removeprefix("sentinel_"): given.pop(name)
        for name in ("sentinel_username", "sentinel_password")
        if name in given
    }
    if url.scheme.startswith("rediss"):
        options |= {"ssl": True}
    encryption = {name: value for name, value in (options | given).items() if name.startswith("ssl")}
    patience = {"socket_timeout": SENTINEL_SECONDS, "socket_connect_timeout": SENTINEL_SECONDS}
    kwargs = options | encryption | patience | asked
    sentinel = Sentinel(address.hosts, sentinel_kwargs=kwargs)  # type: ignore[no-untyped-call] # it has no types
    client: Redis = sentinel.master_for(address.service, **options | {"db": address.database} | given)
    return client


def _cluster(url: SplitResult, address: RedisAddress, options: dict[str, Any]) -> RedisCluster:
    if url.scheme.startswith("rediss"):
        options |= {"ssl": True}
    nodes = [ClusterNode(host, port) for host, port in address.hosts]
    return RedisCluster(startup_nodes=nodes, **{"max_connections": CONNECTIONS} | options | _given(url))


def _given(url: SplitResult) -> dict[str, Any]:
    """What a plain URL with the same user and query would mean to redis-py."""
    user, at, _ = url.netloc.rpartition("@")
    given: dict[str, Any] = {**parse_url(f"redis://{user}{at}?{url.query}")}
    given.pop("host", None)
    return given
