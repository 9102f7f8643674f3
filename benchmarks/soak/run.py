"""One soak from beginning to end: warm up, note what is held at rest, drive, and look at everything again."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from msgspec import Struct, field

from benchmarks.soak import bill
from benchmarks.soak.caller import Caller, callers
from benchmarks.soak.ledger import Ledger
from benchmarks.soak.observed import Census
from benchmarks.soak.processes import Gateway, Provider, gateway_process, provider_process
from benchmarks.soak.traffic import Pace, Play, a_few, drive, for_ever
from benchmarks.soak.trend import Sample
from benchmarks.soak.vitals import Holding, Memory, holding_of, memory_of
from benchmarks.soak.wire import Wire

SAMPLE_SECONDS = 2.0
REST_SECONDS = 15.0
LOOK_SECONDS = 0.1
AT_REST = {"LISTEN": 1}


class Plan(Struct, frozen=True, kw_only=True):
    """How long and how hard. With `times` each play is made so often, whatever the time it takes."""

    seconds: float = 600
    warm_seconds: float = 60
    times: int = 0
    callers: int = 32
    plays_per_second: float = 1000
    cache_bytes: int = 1024 * 1024


class Rest(Struct, frozen=True):
    """What the gateway holds when nobody asks anything."""

    holding: Holding
    census: Census
    memory: Memory


class Result(Struct):
    requests: int
    seconds: float
    before: Rest
    after: Rest
    samples: list[Sample]
    differences: dict[str, list[str]] = field(default_factory=dict)
    """By what was compared; all of them empty where everything adds up."""


class Soak:
    def __init__(self, plan: Plan, gateway: Gateway, provider: Provider, say: Callable[[str], None]) -> None:
        self.plan = plan
        self.gateway = gateway
        self.provider = provider
        self.ledger = Ledger()
        self.samples: list[Sample] = []
        self._say = say
        self._pace = Pace(plan.plays_per_second)
        self._callers: list[Caller] = callers(plan.callers, gateway.port, provider.port, self.ledger)

    async def run(self) -> Result:
        plan = self.plan
        await self._drive(a_few(1))
        await self.gateway.census()  # what the first one makes for itself is not counted
        if not plan.times:
            await self._drive(for_ever(0), until=time.monotonic() + plan.warm_seconds)
        before = await self._rest()
        self._say(f"warm: {self.ledger.requests} requests; at rest {before.holding}, {before.memory.pss} kB")
        started, done = time.monotonic(), self.ledger.requests
        sampling = asyncio.create_task(self._sample(started))
        try:
            if plan.times:
                await self._drive(a_few(plan.times))
            else:
                await self._drive(for_ever(), until=started + plan.seconds)
        finally:
            sampling.cancel()
        seconds, requests = time.monotonic() - started, self.ledger.requests - done
        after = await self._rest(before.holding.descriptors)
        return Result(requests, seconds, before, after, self.samples, await self._differences())

    async def _drive(self, plays: Iterable[Play], until: float = float("inf")) -> None:
        await drive(self._callers, plays, self._pace, until)

    async def _sample(self, started: float) -> None:
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            self.samples.append(Sample(self.ledger.requests, memory_of(self.gateway.pid)))
            if len(self.samples) % 15 == 0:
                seconds = time.monotonic() - started
                self._say(f"{seconds:5.0f} s  {self.ledger.requests:>8} requests  {self.samples[-1].memory.pss} kB")

    async def _rest(self, held: int | None = None) -> Rest:
        """Once all callers have hung up, and the connections kept to providers were closed as unused.

        A socket that was reset is out of the kernel's table before its descriptor is closed, so what was `held`
        before is waited for too.
        """
        for _ in range(int(REST_SECONDS / LOOK_SECONDS)):
            holding = holding_of(self.gateway.pid)
            if holding.sockets == AT_REST and (held is None or holding.descriptors <= held):
                break
            await asyncio.sleep(LOOK_SECONDS)
        return Rest(holding, await self.gateway.census(), memory_of(self.gateway.pid))

    async def _differences(self) -> dict[str, list[str]]:
        wire = Wire(self.gateway.port)
        samples = bill.samples_of((await wire.get("/metrics")).decode())
        await wire.leave()
        said = await self.provider.ledger()
        code = await self.gateway.stop()
        ledger = self.ledger
        return {
            "answers": ledger.complaints,
            "metrics": list(bill.metrics_differ(samples, ledger)),
            "cache": list(bill.cache_differs(samples, ledger, self.plan.cache_bytes)),
            "provider": list(bill.provider_differs(said, samples, ledger)),
            "log": list(bill.log_differs(bill.log_of(self.gateway.log), ledger)),
            "stop": [] if code == 0 else [f"the gateway ended with {code}"],
        }


async def soak(directory: Path, plan: Plan, say: Callable[[str], None] = lambda _: None) -> Result:
    async with provider_process() as provider, gateway_process(directory, provider, plan.cache_bytes) as gateway:
        return await Soak(plan, gateway, provider, say).run()


def held_longer(before: Rest, after: Rest) -> list[str]:
    """What is held at rest that was not held before."""
    found = []
    if after.holding.sockets != AT_REST:
        found.append(f"sockets are left: {after.holding.sockets}")
    for name in ("descriptors", "threads"):
        then, now = getattr(before.holding, name), getattr(after.holding, name)
        if now > then:
            found.append(f"{name}: {then} before, {now} after")
    if more := Counter(after.census.tasks) - Counter(before.census.tasks):
        found.append(f"tasks are left: {dict(more)}")
    return found


def grown(before: Rest, after: Rest) -> Counter[str]:
    """How many more objects of each type there are."""
    return Counter(after.census.objects) - Counter(before.census.objects)
