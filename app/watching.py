"""Notices that the configuration file, or the certificate, is another one than before."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from app.settings.reading import digest_of

LOOK_SECONDS = 5.0
STEP_SECONDS = 0.2
GATHER_SECONDS = 1.6
SETTLED_SECONDS = 0.25
AGAIN_SECONDS = 60.0

T = TypeVar("T")

logger = structlog.get_logger("signalbox.configuration")


class FileWatch:
    """A worker. What counts is what the file holds, so it does not matter how it came to be there.

    Directories are watched, its own and that of the file a link leads to: an editor or Kubernetes (whose links begin
    with `..`) puts another file in its place, and of that one a watch on the file itself would never hear. Every five
    seconds, and where the system has no watches left, it is simply looked at. `WATCHFILES_FORCE_POLLING` does for file
    systems that tell nothing.
    """

    def __init__(self, file: Path, changed: Callable[[], object], *, digest: str) -> None:
        """`digest` is that of what was read at the start."""
        self._file = file.absolute()
        self._changed = changed
        self._digest = digest
        self._complained = False

    async def run(self) -> None:
        while True:
            try:
                await self._watch(self._directories())
            except Exception as error:  # noqa: BLE001 - the library's, the system's limit on watches, links in a circle
                if not self._complained:
                    self._complained = True
                    said = " ".join(str(error).split())
                    logger.warning("the configuration file is only looked at from time to time", reason=said)
                await asyncio.sleep(LOOK_SECONDS)
                await self._look()

    async def _watch(self, directories: set[Path]) -> None:
        """Until there are other directories to watch."""
        from watchfiles import awatch  # noqa: PLC0415 - where there is nothing to watch it is not loaded

        changes = awatch(
            *directories,
            watch_filter=self._concerns,
            recursive=False,
            step=int(STEP_SECONDS * 1000),
            debounce=int(GATHER_SECONDS * 1000),
            rust_timeout=int(LOOK_SECONDS * 1000),
            yield_on_timeout=True,
        )
        async for _ in changes:
            await self._look()
            if self._directories() != directories:
                return

    async def _look(self) -> None:
        found = await _settled(self._digest, partial(digest_of, self._file))
        if found != self._digest:
            self._digest = found
            self._changed()

    def _concerns(self, _: object, path: str) -> bool:
        """Whether a change may be one of ours: else every line of a log beside it would wake us."""
        name = Path(path).name
        return name in {self._file.name, self._file.resolve().name} or name.startswith("..")

    def _directories(self) -> set[Path]:
        return {each for each in (self._file.parent, self._file.resolve().parent) if each.is_dir()}


class RenewalWatch:
    """A worker, for a certificate: its files lie anywhere, so they are looked at every five seconds, in a thread.

    What was not taken, for whatever reason, is asked for again once a minute.
    """

    def __init__(
        self,
        held: Callable[[], bytes],
        shown: Callable[[], bytes],
        changed: Callable[[], object],
        *,
        every: float = LOOK_SECONDS,
        again: float = AGAIN_SECONDS,
    ) -> None:
        """Digests of what the files hold now, which may block, and of what is shown."""
        self._every = every
        self._again = again
        self._held = held
        self._shown = shown
        self._changed = changed

    async def run(self) -> None:
        known, waited = self._shown(), 0.0
        while True:
            await asyncio.sleep(self._every)
            found = await _settled(known, self._held)
            waited += self._every
            if found != known or (found != self._shown() and waited >= self._again):
                self._changed()
                waited = 0.0
            known = found


async def _settled(known: T, held: Callable[[], T]) -> T:
    """What is held, once it stays the same for a moment: until then it is being written."""
    found = await asyncio.to_thread(held)
    while found != known:
        await asyncio.sleep(SETTLED_SECONDS)
        again = await asyncio.to_thread(held)
        if again == found:
            break
        found = again
    return found
