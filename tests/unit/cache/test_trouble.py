"""What is wrong with Redis has a word."""

import pytest
from redis import exceptions as redis

from app.cache.trouble import KINDS, LONGEST_REASON, hurts, kind_of, said
from app.domain.rarely import LINE_EVERY_SECONDS, Rarely


@pytest.mark.parametrize(
    ("error", "kind", "hurtful"),
    [
        (TimeoutError(), "timeout", True),
        (redis.TimeoutError("Timeout reading from socket"), "timeout", True),
        (ConnectionRefusedError(111, "refused"), "connect", True),
        (redis.ConnectionError("Error 111 connecting to x:1."), "connect", True),
        (redis.AuthenticationError("invalid username-password pair"), "auth", True),
        (redis.ResponseError("NOAUTH Authentication required."), "auth", False),
        (redis.ResponseError("WRONGPASS invalid"), "auth", False),
        (redis.NoPermissionError("no permissions to run 'set'"), "permission", False),
        (redis.OutOfMemoryError("command not allowed"), "oom", False),
        (redis.ReadOnlyError("You can't write against a read only replica."), "readonly", False),
        (redis.BusyLoadingError("loading"), "loading", True),
        (redis.ClusterDownError("CLUSTERDOWN The cluster is down"), "cluster", True),
        (redis.RedisClusterException("no node"), "cluster", True),
        (redis.InvalidResponse("Protocol Error: H"), "protocol", True),
        (redis.MaxConnectionsError(), "pool", True),
        (redis.ConnectionError("No connection available."), "pool", True),
        (redis.ResponseError("MISCONF cannot write"), "refused", False),
        (redis.DataError("x"), "other", True),
    ],
)
def test_every_trouble_has_a_kind_and_says_whether_the_server_is_of_use(
    error: Exception, kind: str, *, hurtful: bool
) -> None:
    assert (kind_of(error), hurts(error)) == (kind, hurtful)
    assert kind in KINDS


def test_what_is_said_is_one_short_line() -> None:
    assert said(ValueError("two\nlines " + "x" * 500)) == ("two lines " + "x" * 500)[:LONGEST_REASON]
    assert said(redis.ConnectionError("No master found for 'm' : <redis.asyncio.client.Redis(host=h)>")) == (
        "No master found for 'm'"
    )
    assert (said(TimeoutError()), said(KeyError())) == ("no answer in time", "KeyError")


def test_a_thing_is_told_once_a_minute() -> None:
    now = [0.0]
    rarely = Rarely(lambda: now[0])

    told = [rarely.may("a"), rarely.may("a"), rarely.may("b")]
    now[0] += LINE_EVERY_SECONDS

    assert [*told, rarely.may("a")] == [True, False, True, True]
