"""What callers do, and in which mixture.

Nothing here depends on who is faster: where a call could end in one way or another, the provider holds the answer
until it is decided.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

from benchmarks.soak.caller import Caller
from benchmarks.soak.cases import ALONE

Play = Callable[[Caller], Awaitable[None]]

TURNS_ON_A_CONNECTION = 40
BODY_SHORT_OF = 100
STALL_SECONDS = 0.05
PATIENCE_SECONDS = 30.0


def alone(name: str) -> Play:
    async def play(caller: Caller) -> None:
        await caller.whole(name, next(caller.numbers))

    return play


def peeking(path: str) -> Play:
    async def play(caller: Caller) -> None:
        await caller.peek(path)

    return play


async def again(caller: Caller) -> None:
    """A question, the same by the same tenant, and by another."""
    number = next(caller.numbers)
    for name in ("asked", "asked-again", "other-tenant"):
        await caller.whole(name, number)


async def stream_again(caller: Caller) -> None:
    number = next(caller.numbers)
    for name in ("stream-asked", "stream-asked-again"):
        await caller.whole(name, number)


async def left(caller: Caller) -> None:
    """The caller leaves while the provider works; the provider is left too."""
    number = next(caller.numbers)
    await caller.ask("left", number)
    await caller.aside.get(f"/_arrived/{number}")
    await caller.leave("left", number)
    await caller.aside.get(f"/_gone/{number}")


async def left_stream(caller: Caller) -> None:
    number = next(caller.numbers)
    await caller.ask("left-stream", number)
    await caller.first_events("left-stream", number)
    await caller.leave("left-stream", number)
    await caller.aside.get(f"/_gone/{number}")


async def left_stalled(caller: Caller) -> None:
    """The caller reads nothing for a while; the provider cannot go on."""
    number = next(caller.numbers)
    await caller.ask("left-stalled", number)
    await caller.first_events("left-stalled", number)
    await asyncio.sleep(STALL_SECONDS)
    await caller.leave("left-stalled", number)
    await caller.aside.get(f"/_gone/{number}")


async def left_waiting(caller: Caller) -> None:
    """The caller leaves before the provider may be asked again.

    What is asked on another connection is answered after the gateway has seen the provider's refusal.
    """
    number = next(caller.numbers)
    other = caller.companion()
    try:
        await caller.ask("left-waiting", number)
        await caller.aside.get(f"/_arrived/{number}")
        await other.peek("/health/live")
        await caller.leave("left-waiting", number)
    finally:
        await other.close()


async def left_body(caller: Caller) -> None:
    number = next(caller.numbers)
    await caller.ask("left-body", number, short_of=BODY_SHORT_OF)
    await caller.leave("left-body", number)


async def together(caller: Caller, leading: str, following: str, play: Callable[..., Awaitable[None]]) -> None:
    """Two read one stream, of which the first events are there and the rest is held."""
    number = next(caller.numbers)
    other = caller.companion()
    try:
        await caller.ask(leading, number)
        first = await caller.first_events(leading, number)
        await other.ask(following, number)
        await play(other, number, first, await other.first_events(following, number))
    finally:
        await other.close()


async def shared(caller: Caller, leading: str, following: str) -> None:
    async def play(other: Caller, number: int, ours: bytes, theirs: bytes) -> None:
        await caller.aside.get(f"/_open/{number}")
        await caller.finish(leading, number, ours)
        await other.finish(following, number, theirs)

    await together(caller, leading, following, play)


async def both_stay(caller: Caller) -> None:
    await shared(caller, "leader", "follower")


async def provider_leaves(caller: Caller) -> None:
    await shared(caller, "leader-cut", "follower-cut")


async def leader_leaves(caller: Caller) -> None:
    async def play(other: Caller, number: int, _: bytes, theirs: bytes) -> None:
        await caller.leave("leader-left", number)
        await caller.aside.get(f"/_open/{number}")
        await other.finish("follower", number, theirs)

    await together(caller, "leader-left", "follower", play)


async def follower_leaves(caller: Caller) -> None:
    async def play(other: Caller, number: int, ours: bytes, _: bytes) -> None:
        await other.leave("follower-left", number)
        await caller.aside.get(f"/_open/{number}")
        await caller.finish("leader", number, ours)

    await together(caller, "leader", "follower-left", play)


async def both_leave(caller: Caller) -> None:
    async def play(other: Caller, number: int, _: bytes, __: bytes) -> None:
        await caller.leave("leader-of-none", number)
        await other.leave("last-follower-left", number)
        await caller.aside.get(f"/_gone/{number}")

    await together(caller, "leader-of-none", "last-follower-left", play)


PLAYS: dict[str, tuple[int, Play]] = {name: (6, alone(name)) for name in ALONE} | {
    "json": (120, alone("json")),
    "stream": (60, alone("stream")),
    "embedding": (24, alone("embedding")),
    "late": (3, alone("late")),
    "again": (60, again),
    "stream-again": (24, stream_again),
    "left": (18, left),
    "left-stream": (18, left_stream),
    "left-stalled": (1, left_stalled),
    "left-waiting": (6, left_waiting),
    "left-body": (6, left_body),
    "both-stay": (9, both_stay),
    "provider-leaves": (6, provider_leaves),
    "leader-leaves": (6, leader_leaves),
    "follower-leaves": (6, follower_leaves),
    "both-leave": (6, both_leave),
    "metrics": (3, peeking("/metrics")),
    "health": (3, peeking("/health")),
    "models": (3, peeking("/v1/models")),
}
"""How often each is played beside the others."""


def for_ever(seed: int = 1) -> Iterator[Play]:
    """All plays by their weights, in an order that is always the same."""
    pack = [play for weight, play in PLAYS.values() for _ in range(weight)]
    dice = random.Random(seed)  # noqa: S311 - an order, not a secret
    while True:
        dice.shuffle(pack)
        yield from pack


def a_few(times: int, seed: int = 1) -> Iterator[Play]:
    """Each play so many times."""
    pack = [play for _, play in PLAYS.values() for _ in range(times)]
    random.Random(seed).shuffle(pack)  # noqa: S311 - an order, not a secret
    return iter(pack)


class Pace:
    """A play may begin every so often, whatever the others take."""

    def __init__(self, plays_per_second: float) -> None:
        self._apart = 1 / plays_per_second
        self._next = time.monotonic()

    async def turn(self) -> None:
        now = time.monotonic()
        self._next = max(self._next, now - 1) + self._apart
        if self._next > now:
            await asyncio.sleep(self._next - now)


async def _played(play: Play, caller: Caller) -> None:
    """A play that gets stuck or breaks off is a complaint, and the next one begins afresh."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await play(caller)
    except (OSError, EOFError, ValueError, TimeoutError) as error:
        caller.ledger.complain(getattr(play, "__name__", ""), 0, repr(error))
        await caller.close()


async def drive(callers: Sequence[Caller], plays: Iterable[Play], pace: Pace, until: float = float("inf")) -> None:
    """Every caller plays what comes next, until there is nothing left or time is up."""
    coming = iter(plays)

    async def work(caller: Caller) -> None:
        try:
            for turn, play in enumerate(coming, 1):
                await pace.turn()
                await _played(play, caller)
                if turn % TURNS_ON_A_CONNECTION == 0:
                    await caller.wire.leave()
                if time.monotonic() >= until:
                    return
        finally:
            await caller.close()

    async with asyncio.TaskGroup() as group:
        for caller in callers:
            group.create_task(work(caller))
