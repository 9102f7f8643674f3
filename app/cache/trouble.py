"""What can be wrong with Redis, in words for counting and for people."""

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    ClusterError,
    InvalidResponse,
    MaxConnectionsError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

KINDS = (
    *("timeout", "connect", "auth", "permission", "oom", "readonly"),
    *("loading", "cluster", "protocol", "pool", "refused", "other"),
)
TROUBLES = (RedisError, RedisClusterException, OSError, TimeoutError)
"""All that a client of Redis may be expected to raise."""

LONGEST_REASON = 200

_kinds: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    ((TimeoutError, RedisTimeoutError), "timeout"),
    ((AuthenticationError, AuthorizationError), "auth"),
    (NoPermissionError, "permission"),
    (OutOfMemoryError, "oom"),
    (ReadOnlyError, "readonly"),
    (BusyLoadingError, "loading"),
    (MaxConnectionsError, "pool"),
    ((ClusterDownError, ClusterError, RedisClusterException), "cluster"),
    (InvalidResponse, "protocol"),
)
_prefixes = (("NOAUTH", "auth"), ("WRONGPASS", "auth"), ("NOPERM", "permission"), ("OOM", "oom"))


def kind_of(error: Exception) -> str:
    """One of `KINDS`."""
    for types, kind in _kinds:
        if isinstance(error, types):
            return kind
    text = str(error)
    for prefix, kind in _prefixes:
        if text.startswith(prefix):
            return kind
    if text.startswith("No connection available"):
        return "pool"
    if text.startswith("Protocol Error"):
        return "protocol"
    if isinstance(error, RedisConnectionError | OSError):
        return "connect"
    return "refused" if isinstance(error, ResponseError) else "other"


def hurts(error: Exception) -> bool:
    """Whether it says that the server is of no use, rather than that it will not do this one thing."""
    return not isinstance(error, ResponseError) or isinstance(error, ClusterDownError)


def said(error: Exception) -> str:
    """For people, in one line; without the list of all its options a client of Sentinel adds."""
    text = str(error) or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)
    return " ".join(text.partition(" : <redis")[0].split())[:LONGEST_REASON]
