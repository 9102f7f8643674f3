"""Checks that other packages bring along: entry points of the group `signalbox.health_checks`."""

import asyncio
import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import structlog

from app.domain.health import Check, CheckStatus
from app.settings import CheckSettings

GROUP = "signalbox.health_checks"

logger = structlog.get_logger("signalbox.health")


class Turn(threading.Thread):
    """A daemon: Python's own pools would wait for it at the end of the process, for ever if need be."""

    over = False
    """The function came back; the thread lives on for a moment, which is nobody's business."""


class PythonCheck:
    """A function without arguments. None is healthy, a text degraded, and raising unhealthy.

    A coroutine function runs on the event loop and must not block it. Any other gets a thread, one at a time, whatever
    is reloaded meanwhile: who does not come back in time is not asked again until it does.
    """

    def __init__(self, name: str, row: CheckSettings, load: Callable[[], Any]) -> None:
        """Never fails: what cannot be loaded is unhealthy, and one line of the log."""
        self.name = f"custom:{name}"
        self.critical = row.critical
        self.max_age = row.interval_seconds
        self.deadline = row.timeout_seconds
        self._broken = ""
        try:
            self._call = load()
            if not callable(self._call):
                raise TypeError(f"{self._call!r} is no function")  # noqa: TRY301 - told as what cannot be loaded is
        except Exception as error:  # noqa: BLE001 - somebody else's module may do anything
            self._broken = f"could not be loaded: {type(error).__name__}: {error}"
            logger.warning("health check could not be loaded", check=self.name, error=self._broken)

    async def run(self) -> Check:
        if self._broken:
            return Check(status=CheckStatus.UNHEALTHY, reason=self._broken)
        if inspect.iscoroutinefunction(self._call) or inspect.iscoroutinefunction(type(self._call).__call__):
            said = await self._call()
        else:
            said = await self._in_thread()
        if said is None:
            return Check(status=CheckStatus.HEALTHY)
        if isinstance(said, str):
            return Check(status=CheckStatus.DEGRADED, reason=said)
        return Check(status=CheckStatus.UNHEALTHY, reason=f"returned {type(said).__name__}, not a text or None")

    async def _in_thread(self) -> Any:
        turns = (each for each in threading.enumerate() if isinstance(each, Turn))
        if any(each.name == self.name and not each.over for each in turns):
            raise TimeoutError("has not come back from its last turn")
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Any] = loop.create_future()

        def work() -> None:
            try:
                told, failed = self._call(), None
            except Exception as error:  # noqa: BLE001 - handed on to who waits
                told, failed = None, error
            turn.over = True
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_settle, answered, told, failed)

        turn = Turn(target=work, name=self.name, daemon=True)
        turn.start()
        return await answered


def _settle(answered: "asyncio.Future[Any]", told: Any, failed: Exception | None) -> None:
    if answered.done():  # given up
        return
    if failed is None:
        answered.set_result(told)
    else:
        answered.set_exception(failed)


def python_checks(rows: Mapping[str, CheckSettings]) -> Sequence[PythonCheck]:
    """All that are installed, and those that are configured and are not."""
    found: dict[str, EntryPoint] = {each.name: each for each in entry_points(group=GROUP)}
    wanted = {name: row for name, row in rows.items() if row.kind == "python"}
    checks = [
        PythonCheck(name, wanted.get(name, CheckSettings(kind="python")), point.load) for name, point in found.items()
    ]
    return [*checks, *(PythonCheck(name, row, _missing) for name, row in wanted.items() if name not in found)]


def _missing() -> Any:
    raise LookupError(f"no installed package has an entry point of this name in {GROUP}")
