"""Redis in company: Sentinel, a cluster, TLS, few connections, and callers who leave while it is read."""

import asyncio
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from redis.asyncio import Redis

from app.cache.module import CacheModule
from app.cache.redis import PREFIX, RedisCache
from app.settings import CacheSettings, Secret
from tests.support.gateways import ask_twice, gateway_on
from tests.support.processes import ROOT, ProviderProcess, redis_process
from tests.support.provider_faults import eventually
from tests.support.redis_servers import needs_redis, redis_cluster, redis_with_tls, watched_by_sentinel
from tests.support.waiting import until

pytestmark = needs_redis
NAMES = [b"%032d" % number for number in range(60)]


@asynccontextmanager
async def cache_at(url: str, *, patience: float = 1.0, **settings: Any) -> AsyncIterator[tuple[RedisCache, Redis]]:
    module = CacheModule(settings=CacheSettings(url=Secret(url), timeout_seconds=patience, **settings))
    cache: Any = module.redis()
    worker = asyncio.create_task(cache.run())
    yield cache, module.client()
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    await cache.aclose()


async def keep(cache: RedisCache, names: list[bytes]) -> None:
    """Each key's value is itself, and is in Redis when this returns."""
    for name in names:
        cache.set(name, name, ttl=600)
    await until(lambda: not cache._queue)  # noqa: SLF001 - until then it is answered from there


async def found(cache: RedisCache, names: list[bytes]) -> list[bytes | None]:
    return list(await asyncio.gather(*(cache.get(name) for name in names)))


@pytest.mark.slow
def test_R_10_sentinel_makes_another_master(provider: ProviderProcess, directory: Path, model: str) -> None:
    """The master Sentinel watches is killed; its replica is made master.

    Happens: calls are answered all the while; within one interval of the breaker, at most 8 s, after the failover
    answers are served from the new master, and stored there.
    Seen: `llm_redis_breaker_state` 2, then 0; `llm_redis_errors_total` by kind `connect`.
    """
    with (
        watched_by_sentinel(directory) as (master, replica, url),
        gateway_on(provider, directory / "gateway", url=url, l1_seconds=0, timeout_seconds=0.5) as gateway,
    ):
        assert "Redis by Sentinel at 127.0.0.1" in gateway.banner
        assert ask_twice(gateway, model) == ["miss", "hit"]
        eventually(lambda: replica.client.dbsize() == 1, "the replica has it")
        master.kill()

        assert {gateway.chat(f"primary/{model}", seed=number).status_code for number in range(5)} == {200}
        eventually(lambda: gateway.metric("llm_redis_breaker_state") == 0, "it is asked again")
        assert gateway.chat(f"primary/{model}").headers["x-signalbox-cache"] == "hit"
        assert ask_twice(gateway, model, seed=99) == ["miss", "hit"]
        assert gateway.metric("llm_redis_errors_total", kind="connect") >= 3


@pytest.mark.slow
async def test_R_10_a_cluster_moves_slots_and_loses_a_master(tmp_path: Path) -> None:
    """In a cluster of three masters a slot moves to another; then a master is killed, and its replica takes over.

    Happens: what has moved is found where it is now; within one interval after the failover all is found again. To
    clear the cache is to clear it on every master.
    Seen: no error of the move; `llm_redis_errors_total` and the breaker of the loss.
    """
    with redis_cluster(tmp_path) as cluster:
        async with cache_at(cluster.url) as (cache, _):
            await keep(cache, NAMES)
            held = [node.client.dbsize() for node in cluster.masters]
            name = PREFIX + NAMES[0].hex().encode()
            cluster.move(name)
            assert await found(cache, NAMES) == NAMES
            assert (min(held) > 0, cache.size.errors) == (True, 0)

            eventually(lambda: cluster.nodes[3].client.dbsize() == cluster.nodes[0].client.dbsize(), "it is replicated")
            cluster.nodes[0].kill()
            for _ in range(5):
                await found(cache, NAMES)
            assert cache.state.breaker > 0
            await until(lambda: cache.state.breaker == 0)

            assert await found(cache, NAMES) == NAMES
            await cache.clear()
            assert [node.client.dbsize() for node in cluster.nodes[1:]] == [0, 0, 0]


async def test_R_11_all_connections_are_busy(tmp_path: Path) -> None:
    """`max_connections` is 1, and something else holds the one.

    Happens: lookups wait for their 50 ms and are misses; nothing is raised. Once it is free they succeed.
    Seen: `llm_redis_errors_total` by kind `pool` or `timeout`.
    """
    with redis_process(tmp_path) as (_, url):
        async with cache_at(f"{url}?max_connections=1", patience=0.05) as (cache, client):
            await keep(cache, NAMES[:2])
            holding = asyncio.create_task(client.blpop(["nothing"], timeout=0.4))
            await asyncio.sleep(0.05)

            assert await found(cache, NAMES[:2]) == [None, None]
            assert cache.state.errors["pool"] + cache.state.errors["timeout"] == 1
            await holding
            assert await found(cache, NAMES[:2]) == NAMES[:2]


@pytest.mark.parametrize("trusted", [True, False], ids=["its authority", "another authority"])
async def test_R_15_redis_speaks_TLS(tmp_path: Path, *, trusted: bool) -> None:
    """`rediss://`, with `cache.ca_file` of the authority that made the server's certificate, or of another one.

    Happens: with its authority all works; with another nothing is sent, and every lookup is a miss. `docs/redis.md`
    names the server's release that TLS should not be used without.
    Seen: `llm_redis_errors_total{kind="connect"}`; `checks.redis` says that the certificate was not accepted.
    """
    authority, other = trustme.CA(), trustme.CA()
    file = tmp_path / "ca.pem"
    (authority if trusted else other).cert_pem.write_to_path(str(file))

    with redis_with_tls(tmp_path, authority) as url:
        async with cache_at(url, ca_file=str(file)) as (cache, _):
            await keep(cache, NAMES)
            assert await found(cache, NAMES) == (NAMES if trusted else [None] * len(NAMES))
            assert (cache.state.errors["connect"] > 0) is not trusted
            if not trusted:
                with pytest.raises(ConnectionError, match=r"(?i)certificate"):
                    await cache.ping()
    assert re.search(r"CVE-2026-81934.*8\.10\.1", (ROOT / "docs" / "redis.md").read_text(), re.DOTALL)


async def test_C_11_callers_leave_at_random_while_redis_is_read(tmp_path: Path) -> None:
    """8,112 lookups under load, of which 888 are cancelled at random moments, and reads cut by a deadline besides.

    Happens: everybody who stays has the answer to its own question, or none.
    Seen: nothing but the `timeout` of the reads that were cut.
    """
    dice = random.Random(7)  # noqa: S311 - no secret
    with redis_process(tmp_path) as (_, url):
        async with cache_at(url) as (patient, _), cache_at(url, patience=0.002) as (hasty, _):
            await keep(patient, NAMES)

            async def ask(cache: RedisCache, name: bytes) -> bytes | None:
                await asyncio.sleep(dice.random())
                return await cache.get(name)

            asked = [dice.choice(NAMES) for _ in range(8112)]
            callers = [
                asyncio.create_task(ask(hasty if number % 4 == 0 else patient, name))
                for number, name in enumerate(asked)
            ]
            for task in dice.sample(callers, 888):
                asyncio.get_running_loop().call_later(dice.random(), task.cancel)
            answers = await asyncio.gather(*callers, return_exceptions=True)

            stayed = [
                (name, value) for name, value, task in zip(asked, answers, callers, strict=True) if not task.cancelled()
            ]
            assert len(stayed) >= 8112 - 888
            assert [each for each in stayed if each[1] not in (each[0], None)] == []
            assert sum(value is not None for _, value in stayed) >= 5000
            assert patient.size.errors == 0
