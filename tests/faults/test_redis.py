"""Redis that is away, hangs, fills up, refuses or is not Redis at all: every call is answered."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest
import redis

from tests.support.gateways import ask_twice, gateway_on, warnings_of
from tests.support.processes import GatewayProcess, ProviderProcess, free_port, redis_process
from tests.support.provider_faults import eventually
from tests.support.redis_servers import RedisProcess, needs_redis

pytestmark = [pytest.mark.e2e, needs_redis]

AT_EASE = {"l1_seconds": 0, "timeout_seconds": 5}
"""Nothing is kept in memory, and a busy machine is no outage of Redis."""
ALONE, BACK = "redis is left alone", "redis is asked again"


def statuses(gateway: GatewayProcess, model: str, count: int, *, first: int = 0) -> set[int]:
    """Of so many different questions."""
    return {gateway.chat(f"primary/{model}", seed=first + number).status_code for number in range(count)}


def reason_of(gateway: GatewayProcess) -> str:
    return str(gateway.client.get("/health").json()["checks"]["redis"].get("reason"))


def breaker_is(gateway: GatewayProcess, state: float) -> None:
    eventually(lambda: gateway.metric("llm_redis_breaker_state") == state, f"the breaker is {state}")


@contextmanager
def asked_without_a_pause(gateway: GatewayProcess, model: str) -> Iterator[set[int]]:
    """The statuses eight callers are told, until the end."""
    enough, seen = Event(), set[int]()

    def ask(caller: int) -> None:
        number = 0
        while not enough.is_set():
            number += 1
            seen.add(gateway.chat(f"primary/{model}", seed=caller * 10_000 + number % 7).status_code)

    with ThreadPoolExecutor(8) as threads:
        try:
            callers = [threads.submit(ask, caller) for caller in range(8)]
            yield seen
        finally:
            enough.set()
        assert [each.result() for each in callers] == [None] * 8


def test_R_01_redis_is_absent_at_start(provider: ProviderProcess, directory: Path, model: str) -> None:
    """The gateway starts with the address of a Redis that is not there.

    Happens: it starts and answers; what is asked again is asked of the provider again. `/health/ready` is 200.
    Seen: `/health` is degraded; `llm_redis_up` 0, `llm_redis_errors_total{kind="connect"}`,
    `llm_redis_breaker_state` 2; one line `redis is left alone`, without the password.
    """
    with gateway_on(provider, directory, url=f"redis://:secret-pw@127.0.0.1:{free_port()}/0") as gateway:
        assert statuses(gateway, model, 5) == {200}
        eventually(lambda: gateway.metric("llm_redis_breaker_state") > 0, "the breaker is open")

        assert gateway.chat(f"primary/{model}", seed=0).headers["x-signalbox-cache"] == "miss"
        assert gateway.client.get("/health").json()["status"] == "degraded"
        assert gateway.client.get("/health/ready").status_code == 200
        assert gateway.metric("llm_redis_errors_total", kind="connect") >= 3
        assert gateway.metric("llm_redis_up") == 0
        assert len(warnings_of(gateway, ALONE)) == 1
        assert "secret-pw" not in gateway.banner + gateway.log_text() + gateway.client.get("/health").text


def test_R_02_redis_is_killed_under_load(provider: ProviderProcess, directory: Path, model: str) -> None:
    """Eight callers ask without a pause; Redis is killed, and started again.

    Happens: every call is answered with 200. Three lookups fail, then none is made until Redis is back, which is
    tried after 1, 2, 4 and 8 s, less a random half.
    Seen: `llm_redis_breaker_state` 2 and then 0; one line when it is left alone, one when it is asked again; the alert
    RedisDown.
    """
    server = RedisProcess(directory / "redis", "--save", "")
    try:
        with gateway_on(provider, directory, url=f"redis://127.0.0.1:{server.port}/0", l1_seconds=0) as gateway:
            assert ask_twice(gateway, model) == ["miss", "hit"]
            with asked_without_a_pause(gateway, model) as seen:
                server.kill()
                breaker_is(gateway, 2)
                server.start()
                breaker_is(gateway, 0)
                eventually(lambda: ask_twice(gateway, model)[1] == "hit", "hits again")

            assert seen == {200}
            assert (len(warnings_of(gateway, ALONE)), len(warnings_of(gateway, BACK))) == (1, 1)
    finally:
        server.end()


def test_R_03_redis_hangs(provider: ProviderProcess, directory: Path, model: str) -> None:
    """Redis is stopped with SIGSTOP while calls come one after the other; then it goes on.

    Happens: three lookups wait for `cache.timeout_seconds` and count as misses; no call after them waits.
    Seen: `llm_redis_errors_total{kind="timeout"}`; `llm_redis_breaker_state` 2; `checks.redis` of `/health`
    unhealthy, the whole degraded; a line when it is left alone, one when it is asked again.
    """
    settings = {"l1_seconds": 0, "timeout_seconds": 0.2}
    with redis_process(directory) as (server, url), gateway_on(provider, directory, url=url, **settings) as gateway:
        eventually(lambda: ask_twice(gateway, model)[1] == "hit", "it is stored")
        server.send_signal(signal.SIGSTOP)

        assert statuses(gateway, model, 40) == {200}
        waited = gateway.metric("llm_redis_errors_total", kind="timeout")
        eventually(lambda: gateway.client.get("/health").json()["redis"] is False, "health has noticed")
        report = gateway.client.get("/health")
        server.send_signal(signal.SIGCONT)

        assert 3 <= waited < 20  # of 40 calls; trials and writes beside them included
        assert (report.status_code, report.json()["status"]) == (200, "degraded")
        assert report.json()["checks"]["redis"]["status"] == "unhealthy"
        breaker_is(gateway, 0)
        eventually(lambda: ask_twice(gateway, model)[1] == "hit", "hits again")
        assert (len(warnings_of(gateway, ALONE)), len(warnings_of(gateway, BACK))) == (1, 1)


def test_R_03_a_hanging_redis_does_not_hold_up_the_exit(provider: ProviderProcess, directory: Path, model: str) -> None:
    """Redis hangs while an answer waits to be written, and the gateway is told to stop.

    Happens: it gives the last write a second, and Redis another to say goodbye; the exit status is 0.
    Seen: nothing more than of any stop.
    """
    with redis_process(directory) as (server, url), gateway_on(provider, directory, url=url) as gateway:
        assert gateway.chat(f"primary/{model}").status_code == 200
        server.send_signal(signal.SIGSTOP)
        assert gateway.chat(f"primary/{model}", seed=1).status_code == 200

        assert gateway.stop() == 0


def test_R_05_redis_is_full(provider: ProviderProcess, directory: Path, model: str) -> None:
    """Redis has a `maxmemory` that is reached, and `noeviction`.

    Happens: what is stored is served, new answers are not stored; the breaker stays closed.
    Seen: `llm_redis_errors_total{kind="oom"}`, `llm_cache_writes_dropped_total{reason="failed"}`; a line a minute.
    """
    with (
        redis_process(directory) as (_, url),
        gateway_on(provider, directory, url=url, **AT_EASE) as gateway,
    ):
        assert ask_twice(gateway, model) == ["miss", "hit"]
        with redis.Redis.from_url(url) as client:
            client.config_set("maxmemory", 1)

        assert statuses(gateway, model, 5) == {200}
        eventually(
            lambda: gateway.metric("llm_cache_writes_dropped_total", reason="failed") == 5, "all writes have failed"
        )

        assert gateway.chat(f"primary/{model}", seed=0).headers["x-signalbox-cache"] == "miss"
        assert gateway.chat(f"primary/{model}").headers["x-signalbox-cache"] == "hit"
        assert gateway.metric("llm_redis_breaker_state") == 0
        assert gateway.metric("llm_redis_errors_total", kind="oom") >= 1
        assert len(warnings_of(gateway, "redis does not take what is written")) == 1


def test_R_06_a_policy_that_will_refuse_writes(provider: ProviderProcess, directory: Path, model: str) -> None:
    """Redis has a `maxmemory` and `noeviction`, and is far from full.

    Happens: everything works, for now.
    Seen: one line at the start; `llm_redis_policy_unsafe` 1; the `reason` of `checks.redis` in `/health`.
    """
    bounded = ("--maxmemory", "100mb", "--maxmemory-policy", "noeviction")
    with redis_process(directory, *bounded) as (_, url), gateway_on(provider, directory, url=url) as gateway:
        eventually(lambda: gateway.metric("llm_redis_policy_unsafe") == 1, "the policy is known")

        assert ask_twice(gateway, model) == ["miss", "hit"]
        eventually(lambda: "noeviction" in reason_of(gateway), "health tells it")
        assert gateway.client.get("/health").json()["redis"] is True
        assert [line["policy"] for line in gateway.log() if "policy" in line] == ["noeviction"]


def test_R_06_redis_evicts_under_a_flood(provider: ProviderProcess, directory: Path, model: str) -> None:
    """Others write to a Redis of 3 MB with `allkeys-lru` until our answers have to go.

    Happens: calls cost hits, and nothing else.
    Seen: `llm_cache_evictions_total`; `llm_redis_policy_unsafe` is 0, this being what a cache is for.
    """
    small = ("--maxmemory", "3mb", "--maxmemory-policy", "allkeys-lru")
    with redis_process(directory, *small) as (_, url), gateway_on(provider, directory, url=url) as gateway:
        with redis.Redis.from_url(url) as client:
            for number in range(40):
                assert gateway.chat(f"primary/{model}", seed=number).status_code == 200
                client.set(f"theirs-{number}", b"x" * 100_000)
            assert client.info("stats")["evicted_keys"] > 0

        assert gateway.chat(f"primary/{model}", seed=0).status_code == 200
        assert gateway.metric("llm_redis_policy_unsafe") == 0


def test_R_07_redis_is_flushed(provider: ProviderProcess, directory: Path, model: str) -> None:
    """`FLUSHALL` while calls come.

    Happens: what was stored is asked of the provider once more, and stored again.
    Seen: `llm_cache_misses_total`; no error.
    """
    with (
        redis_process(directory) as (_, url),
        gateway_on(provider, directory, url=url, **AT_EASE) as gateway,
    ):
        assert ask_twice(gateway, model) == ["miss", "hit"]
        with redis.Redis.from_url(url) as client:
            client.flushall()

        assert ask_twice(gateway, model) == ["miss", "hit"]
        assert gateway.metric("llm_cache_errors_total") == 0


ONLY_PINGS = ("--user", "web", "on", ">web-secret-pw", "~*", "+@connection", "+ping", "+info", "+dbsize")


@pytest.mark.parametrize(
    ("arguments", "credentials", "kind"),
    [
        (("--requirepass", "another-secret"), "", "auth"),
        (("--requirepass", "another-secret"), ":wrong-secret-pw@", "auth"),
        (ONLY_PINGS, "web:web-secret-pw@", "permission"),
    ],
    ids=["NOAUTH", "WRONGPASS", "no MGET"],
)
def test_R_09_redis_does_not_let_us_in(  # noqa: PLR0913 - fixtures and cases
    provider: ProviderProcess, directory: Path, model: str, *, arguments: tuple[str, ...], credentials: str, kind: str
) -> None:
    """Redis wants a password we do not have or has another one, or our user may not read.

    Happens: every call is answered, nothing is stored; the breaker opens, and stays so where only pings work.
    Seen: `llm_redis_errors_total` by kind `auth` or `permission`; one line a minute, without a password; degraded.
    """
    with redis_process(directory, *arguments) as (_, url):
        address = url.replace("redis://", f"redis://{credentials}")
        with gateway_on(provider, directory, url=address) as gateway:
            assert statuses(gateway, model, 6) == {200}
            eventually(lambda: gateway.metric("llm_redis_errors_total", kind=kind) >= 5, "trials fail as well")

            eventually(lambda: gateway.client.get("/health").json()["status"] == "degraded", "health has noticed")
            assert gateway.client.get("/health").json()["checks"]["redis"]["status"] != "healthy"
            assert gateway.metric("llm_redis_breaker_state") > 0
            assert len(warnings_of(gateway, ALONE)) == 1
            assert warnings_of(gateway, BACK) == []
            assert "secret-pw" not in gateway.banner + gateway.log_text() + gateway.client.get("/health").text


def test_R_13_it_is_not_redis(provider: ProviderProcess, directory: Path, model: str) -> None:
    """The address is that of a server that speaks HTTP.

    Happens: every call is answered, nothing is stored.
    Seen: `llm_redis_errors_total{kind="protocol"}` or of another kind, as that server has it; degraded.
    """
    with gateway_on(provider, directory, url=provider.url.replace("http://", "redis://")) as gateway:
        assert statuses(gateway, model, 6) == {200}

        failures = [gateway.metric("llm_redis_errors_total", kind=kind) for kind in ("protocol", "connect", "timeout")]
        assert sum(failures) >= 3
        assert gateway.client.get("/health").json()["status"] == "degraded"
