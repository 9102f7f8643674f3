"""Whoever does harm: each takes a step of the schedule, does it, and undoes it when its time is over."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

from tests.chaos.provider import encoded
from tests.chaos.run.book import Book
from tests.chaos.run.schedule import PROVIDER_FAULTS, Step
from tests.chaos.run.world import World
from tests.chaos.toxics import toxic

HALF = b"GET /health/live HTTP/1.1\r\nX-"
MOST_SECONDS = 10.0


class Nemeses:
    """A kind is a method of that name; one that does not know its kind is an error of the schedule."""

    def __init__(self, world: World, book: Book, say: Callable[[str], None]) -> None:
        self._world = world
        self._book = book
        self._say = say
        self._redis_taken = asyncio.Lock()
        self.skipped = 0

    async def run(self, step: Step) -> None:
        act: Callable[[Step], Awaitable[None]] = getattr(self, step.kind)
        self._say(str(step))
        await act(step)

    async def provider(self, step: Step) -> None:
        written, share = step.what.rsplit(" ", 1)
        await self._fault(step.row, written, float(share))
        await asyncio.sleep(step.seconds)
        await self._fault(step.row, "", 1)

    async def share(self, step: Step) -> None:
        """Other faults every few seconds, always the same share."""
        ends, turn = asyncio.get_running_loop().time() + step.seconds, 0
        while asyncio.get_running_loop().time() < ends:
            await self._fault(step.row, PROVIDER_FAULTS[turn % len(PROVIDER_FAULTS)], float(step.what))
            turn += 1
            await asyncio.sleep(min(2.0, step.seconds))
        await self._fault(step.row, "", 1)

    async def toxic(self, step: Step) -> None:
        await self._harm(step.row, step)

    async def redis_toxic(self, step: Step) -> None:
        await self._harm("redis", step)

    async def cut(self, step: Step) -> None:
        self._world.proxies[step.row].cut()

    async def redis(self, step: Step) -> None:
        """One at a time: a server that was killed cannot be stopped."""
        redis = self._world.redis
        async with self._redis_taken:
            match step.what:
                case "stop":
                    redis.send(signal.SIGSTOP)
                    await asyncio.sleep(step.seconds)
                    redis.send(signal.SIGCONT)
                case "restart":
                    await redis.kill()
                    await asyncio.sleep(step.seconds)
                    redis.start()
                case "flush":
                    await redis.say("FLUSHALL")
                case "kick":
                    await redis.say("CLIENT", "KILL", "TYPE", "normal")

    async def pause(self, step: Step) -> None:
        """The gateway itself stands still for a moment."""
        os.kill(self._world.gateway.pid, signal.SIGSTOP)
        await asyncio.sleep(min(step.seconds, 1.0))
        os.kill(self._world.gateway.pid, signal.SIGCONT)

    async def reload(self, step: Step) -> None:
        """Settings are read again; bad ones are put right at the end."""
        if not self._world.reloads():
            self.skipped += 1
            return
        for good in (step.what == "good", True):
            self._world.write_settings(good=good)
            os.kill(self._world.gateway.pid, signal.SIGHUP)
            await asyncio.sleep(min(step.seconds, 2.0))

    async def flood(self, step: Step) -> None:
        """Connections that never finish a head; each must be ended by the gateway."""
        kind, count = step.what.split()
        await asyncio.gather(*(self._stall(kind) for _ in range(int(count))))

    async def _stall(self, kind: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._world.gateway.port)
        try:
            if kind != "silent":
                writer.write(HALF)
            trickling = asyncio.create_task(self._trickle(writer)) if kind == "trickle" else None
            try:
                async with asyncio.timeout(MOST_SECONDS):
                    said = await reader.read()
            finally:
                if trickling is not None:
                    trickling.cancel()
            if said:
                self._book.unread[int(said.split(b" ", 2)[1])] += 1
            elif kind != "silent":
                self._book.complain(f"a head that was {kind} was not answered")
        except TimeoutError:
            self._book.complain(f"a {kind} connection was open for {MOST_SECONDS} s")
        except ConnectionResetError:  # what was trickled into a closed socket takes the answer away
            self._book.unread[0] += 1
        finally:
            writer.close()

    async def _trickle(self, writer: asyncio.StreamWriter) -> None:
        while True:
            await asyncio.sleep(0.5)
            writer.write(b"a: b\r\nx-")

    async def _harm(self, name: str, step: Step) -> None:
        proxied = self._world.proxies[name]
        made = toxic(step.what)
        known = f"{step.kind} {step.at}" if made.kind != "down" else "down"
        await proxied.add(made, known)
        await asyncio.sleep(step.seconds)
        await proxied.remove(known)

    async def _fault(self, row: str, written: str, share: float) -> None:
        def post() -> None:
            self._world.provider.client.post(f"/_fault/{row}", content=encoded(written, share)).raise_for_status()

        await asyncio.to_thread(post)
