"""What the gateway holds when nobody asks anything: sockets by whom they lead to, tasks, gauges."""

import asyncio
import re
from collections import Counter
from pathlib import Path

import msgspec

from benchmarks.soak import bill
from benchmarks.soak.ledger import Sample
from benchmarks.soak.observed import Census
from benchmarks.soak.vitals import Memory, holding_of, memory_of
from benchmarks.soak.wire import Wire
from tests.chaos.run.book import KEYS
from tests.chaos.run.world import World

REDIS_CONNECTIONS = 64
"""The most the gateway keeps to Redis; dead ones among them are closed when they are used again."""
PROBED = 3
"""Providers, each of which may just have been asked how it is."""
PROBING = {"Watch._ask": PROBED}
RECOVERING = "Breaker._recover"
"""As long as Redis is left alone: eight seconds, with calls that found it slow in the last moment."""
PATIENCE_SECONDS = 30.0
AT_REST = (
    "llm_active_requests",
    "http_requests_in_flight",
    "llm_endpoint_active_requests",
    "llm_endpoint_queue_depth",
)


class Rest(msgspec.Struct):
    descriptors: int
    threads: int
    sockets: dict[str, int]
    """TCP sockets by where they lead: `redis`, `others`; those that listen are left out."""
    census: Census
    memory: Memory
    samples: dict[Sample, float]


async def rest_of(world: World) -> Rest:
    """Once connections kept to providers were closed as unused and Redis was found again, or patience is over."""
    pid = world.gateway.pid
    for _ in range(int(PATIENCE_SECONDS)):
        if RECOVERING not in (await world.gateway.census()).tasks:
            break
        await asyncio.sleep(1)
    for _ in range(int(PATIENCE_SECONDS * 10)):
        if sockets_of(pid, world.proxies["redis"].port)["others"] <= PROBED:
            break
        await asyncio.sleep(0.1)
    await asyncio.sleep(0.3)  # what was reset is out of the kernel's table before its descriptor is closed
    sockets, holding = sockets_of(pid, world.proxies["redis"].port), holding_of(pid)
    census, memory = await world.gateway.census(), memory_of(pid)
    wire = Wire(world.gateway.port)
    await wire.ask("/metrics", fields=(f"authorization: Bearer {KEYS['web']}",))
    await wire.head()
    samples = bill.samples_of((await wire.rest()).decode())
    await wire.leave()
    return Rest(holding.descriptors, holding.threads, dict(sockets), census, memory, samples)


def sockets_of(pid: int, redis: int) -> Counter[str]:
    found = re.compile(r"socket:\[(\d+)\]")
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes.update(found.findall(str(link.readlink())))
        except FileNotFoundError:
            continue
    kinds: Counter[str] = Counter()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        (
            _,
            _,
            remote,
            state,
            *_,
        ) = line.split()
        if line.split()[9] in inodes and state != "0A":
            kinds["redis" if int(remote.rpartition(":")[2], 16) == redis else "others"] += 1
    return kinds


def held_longer(before: Rest, after: Rest) -> list[str]:
    """What is held at rest that was not held before."""
    found = []
    if after.sockets.get("others", 0) > PROBED:
        found.append(f"sockets are left: {after.sockets}")
    if after.sockets.get("redis", 0) > REDIS_CONNECTIONS:
        found.append(f"{after.sockets['redis']} connections to Redis")
    if after.descriptors > before.descriptors + REDIS_CONNECTIONS:
        found.append(f"descriptors: {before.descriptors} before, {after.descriptors} after")
    if after.threads > before.threads + 1:
        found.append(f"threads: {before.threads} before, {after.threads} after")
    if more := Counter(after.census.tasks) - Counter(before.census.tasks) - Counter(PROBING):
        found.append(f"tasks are left: {dict(more)}")
    for (name, labels), value in after.samples.items():
        if name in AT_REST or (name == "llm_endpoint_connections" and ("state", "active") in labels):
            own = 1 if name == "http_requests_in_flight" else 0  # who asks for the metrics
            if value > own:
                found.append(f"{name}{dict(labels)} is {value:g} at rest")
    return found
