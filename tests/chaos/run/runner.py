"""One run from beginning to end: begin, do harm, be quiet, and audit."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import mean

import msgspec

from benchmarks.soak.bill import log_of
from benchmarks.soak.traffic import Pace
from benchmarks.soak.trend import Sample
from benchmarks.soak.vitals import memory_of
from tests.chaos.run import schedule
from tests.chaos.run.audit import Accounts
from tests.chaos.run.book import Book
from tests.chaos.run.callers import Caller
from tests.chaos.run.nemeses import Nemeses
from tests.chaos.run.rest import Rest, held_longer, rest_of
from tests.chaos.run.world import World, world

SAMPLE_SECONDS = 2.0
SAMPLES_TO_JUDGE = 120
"""Four minutes; over less, memory says nothing."""
TENTHS = 10
MOST_GROWN = 1.05
"""By how much memory may have grown from the sixth tenth of a soak to the last: the worst fault of each kind has been
seen by then, and what it took of the system stays with the process.
"""
MOST_TOLD = 20
HEAP_SLACK_KB = 3 * 1024
"""What the cache in front of Redis may hold, and half as much again."""
MOST_OBJECTS = 4000


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    seed: int = 1
    seconds: float = 60
    callers: int = 24
    plays_per_second: float = 100
    mix: str = "chaos"
    """Or `soak`: few faults of all kinds all the time, in place of bursts."""

    def steps(self) -> list[schedule.Step]:
        return (schedule.mixed if self.mix == "soak" else schedule.chaos)(self.seed, self.seconds)


class Run:
    def __init__(self, plan: Plan, made: World, say: Callable[[str], None]) -> None:
        self.plan = plan
        self.world = made
        self.book = Book()
        self.samples: list[Sample] = []
        self._say = say
        self._nemeses = Nemeses(made, self.book, say)
        self._callers = [Caller(number, plan.seed, made.gateway.port, self.book) for number in range(plan.callers)]

    async def run(self) -> dict[str, list[str]]:
        """What is wrong, by what was looked at."""
        plan = self.plan
        await self._drive(min(10.0, plan.seconds / 4), self._callers)  # so that what is kept for good is there
        before = await rest_of(self.world)
        self.book.looked["/metrics", 200] += 1  # by us; what is asked last does not count itself
        self._say(f"warm: {len(self.book.requests)} requests, {before.memory.pss} kB, {before.descriptors} descriptors")
        started = time.monotonic()
        sampling = asyncio.create_task(self._sample())
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._drive(plan.seconds, self._callers))
                for step in plan.steps():
                    group.create_task(self._at(started, step))
        finally:
            sampling.cancel()
        for each in self.world.proxies.values():
            await each.clear()
        after = await rest_of(self.world)
        return await self._verdict(before, after)

    async def _at(self, started: float, step: schedule.Step) -> None:
        await asyncio.sleep(max(0.0, started + step.at - time.monotonic()))
        try:
            await self._nemeses.run(step)
        except OSError as error:
            self.book.complain(f"{step}: {error!r}")

    async def _drive(self, seconds: float, callers: list[Caller]) -> None:
        pace, ends = Pace(self.plan.plays_per_second), time.monotonic() + seconds

        async def work(caller: Caller) -> None:
            while time.monotonic() < ends:
                await pace.turn()
                await caller.play()
            await caller.wire.leave()

        await asyncio.gather(*(work(each) for each in callers))

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            self.samples.append(Sample(len(self.book.requests), memory_of(self.world.gateway.pid)))

    async def _verdict(self, before: Rest, after: Rest) -> dict[str, list[str]]:
        alive = self.world.gateway.process.poll() is None
        journal = await asyncio.to_thread(self.world.provider.journal)
        code = await self.world.gateway.stop()
        found = Accounts(self.book, log_of(self.world.gateway.log), after.samples, journal).differences()
        found["alive"] = [] if alive and code == 0 else [f"the gateway ended with {code}"]
        found["at rest"] = held_longer(before, after)
        found["memory"] = self._grown(before, after)
        self._say(
            f"{len(self.book.requests)} requests, "
            f"{sum(each.left for each in self.book.requests.values())} of them left, "
            f"{len(journal) // 2} attempts reached a provider, {sum(self.book.unread.values())} half heads, "
            f"{self._nemeses.skipped} reloads skipped"
        )
        self._say(
            f"at rest: {before.descriptors} descriptors before, {after.descriptors} after ({after.sockets}); "
            f"{before.memory.pss} kB before, {after.memory.pss} after"
        )
        return found

    def _grown(self, before: Rest, after: Rest) -> list[str]:
        """By what is in use at rest; of peaks, which bursts leave behind, only where there are no bursts."""
        heap = (after.census.heap_bytes - before.census.heap_bytes) // 1024
        objects = sum((Counter(after.census.objects) - Counter(before.census.objects)).values())
        self._say(f"in use at rest: {heap:+d} kB, {objects:+d} objects")
        found = []
        if heap > HEAP_SLACK_KB:
            found.append(f"{heap} kB more are in use than before")
        if objects > MOST_OBJECTS:
            found.append(f"{objects} objects more than before")
        if len(self.samples) >= SAMPLES_TO_JUDGE:
            each = len(self.samples) // TENTHS
            tenths = [mean(one.memory.pss for one in self.samples[at * each : (at + 1) * each]) for at in range(TENTHS)]
            self._say(f"memory by tenths, MB: {' '.join(f'{tenth / 1024:.0f}' for tenth in tenths)}")
            if self.plan.mix == "soak" and tenths[-1] > tenths[TENTHS // 2] * MOST_GROWN:
                found.append("memory still grows in the second half")
        return found


async def run(directory: Path, plan: Plan, say: Callable[[str], None] = lambda _: None) -> dict[str, list[str]]:
    say(f"seed {plan.seed}, {plan.seconds:g} s, {plan.mix}")
    async with world(directory, plan.seed) as made:
        return await Run(plan, made, say).run()


def told(found: dict[str, list[str]], say: Callable[[str], None]) -> bool:
    """Whether all is well, having said so line by line."""
    for name, wrongs in found.items():
        say(f"{name:<10}{f'{len(wrongs)} wrong' if wrongs else 'ok'}")
        for wrong in wrongs[:MOST_TOLD]:
            say(f"    {wrong}")
    return not any(found.values())
