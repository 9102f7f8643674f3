"""Whether something that fails is still asked: closed, open, half-open."""

import time
from collections.abc import Callable
from enum import StrEnum

from app.settings import BreakerSettings

EVIDENCE = 20
"""Calls within a window before their share of failures counts."""
FORGOTTEN_SECONDS = 600.0
"""Failures so long ago tell nothing, and who was due for a trial so long ago needs none."""


class State(StrEnum):
    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


class Breaker:
    """Opens after failures in a row, or when most of many fail; then one trial at a time, until one is answered.

    An attempt says when it began, in seconds on the breaker's clock: what began before the last opening tells nothing
    of the time after it. The first interval is `open_seconds`, each further one twice the one before, up to
    `max_open_seconds`, less up to a quarter of it by chance, so that not all gateways come back at once.

    With the first event of a stream the trial has been answered, and all may ask; but until something has ended well
    one failure is enough to open it again.
    """

    __slots__ = (
        "_calls", "_chance", "_clock", "_due", "_failed", "_failed_at", "_heard", "_opened", "_openings", "_row",
        "_since", "_state", "_trying", "reason", "settings", "stubborn",
    )  # fmt: skip # one for each would be longer than the class

    def __init__(
        self,
        settings: BreakerSettings,
        *,
        heard: Callable[[State], object],
        clock: Callable[[], float] = time.perf_counter,
        chance: Callable[[], float],
    ) -> None:
        """`heard` is told of each turn, after it."""
        self.settings = settings
        self._clock = clock
        self._chance = chance
        self._heard = heard
        self.reason = ""
        """Why it opened, in a sentence."""
        self.stubborn = False
        """It opened for what does not heal by itself."""
        self._state = State.CLOSED
        self._row = 0
        self._failed_at = self._since = float("-inf")
        """The last failure; the first one of the window, in which there were so many calls, of which so many failed."""
        self._calls = self._failed = 0
        self._openings = 0
        """In a row, without anything having ended well."""
        self._opened = float("-inf")
        self._due = 0.0
        self._trying = False

    @property
    def state(self) -> State:
        """As the next caller finds it."""
        if self._state is State.CLOSED or self._trying or (late := self._clock() - self._due) < 0:
            return self._state
        return State.CLOSED if late >= FORGOTTEN_SECONDS else State.HALF_OPEN

    @property
    def quiet(self) -> bool:
        """Nothing is known against it: it may be forgotten."""
        if self._state is not State.CLOSED:
            return self.state is State.CLOSED
        age = self._clock() - self._failed_at
        return age >= FORGOTTEN_SECONDS or (age >= self.settings.window_seconds and not self._row + self._openings)

    def wait(self) -> float:
        """Seconds until it may be asked, 0 for now; nobody knows when a trial ends: a second, then."""
        if self._state is State.CLOSED:
            return 0.0
        return 1.0 if self._trying else max(self._due - self._clock(), 0.0)

    def begin(self) -> bool:
        """Somebody asks, who may: whether that is the trial, which has to be ended by one of the four words below."""
        if self._state is State.CLOSED:
            return False
        if self.state is State.CLOSED:
            self._openings = self._row = 0
            self._turn(State.CLOSED)
            return False
        self._trying = True
        self._turn(State.HALF_OPEN)
        return True

    def well(self, started: float, *, trial: bool) -> None:
        """An attempt ended well."""
        if trial or (self._state is State.CLOSED and started > self._opened):
            self._trying, self._row, self._openings = False, 0, 0
            self._calls += 1
            self._turn(State.CLOSED)

    def answered(self) -> None:
        """The trial is a stream that has begun; how it ends is told later, and then it is no trial any more."""
        self._trying = False
        self._row = self.settings.failures - 1
        self._turn(State.CLOSED)

    def failed(self, started: float, why: str, *, trial: bool, at_once: bool = False) -> None:
        """`at_once`: it will not heal by itself, so this is enough, and the interval is the longest."""
        if self._state is not State.CLOSED:
            if trial:
                self._open(f"the trial failed with {why}", longest=at_once)
            return
        if started <= self._opened:
            return
        now = self._clock()
        if now - self._failed_at >= FORGOTTEN_SECONDS:
            self._row = self._openings = 0
        if now - self._since >= self.settings.window_seconds:
            self._since, self._calls, self._failed = now, 0, 0
        self._failed_at = now
        self._row += 1
        self._calls += 1
        self._failed += 1
        if at_once:
            self._open(why, longest=True)
        elif self._row >= self.settings.failures:
            row = "failed again" if self._openings else f"{self._row} failures in a row, the last"
            self._open(f"{row} with {why}")
        elif self._calls >= EVIDENCE and self._failed * 100 > self.settings.error_percent * self._calls:
            self._open(f"{self._failed} of {self._calls} calls failed, the last with {why}")

    def release(self) -> None:
        """The trial ended, and tells nothing: the next caller is it."""
        self._trying = False

    def come_back(self) -> None:
        """There is reason to try at once."""
        self._due = min(self._due, self._clock())

    def _open(self, why: str, *, longest: bool = False) -> None:
        settings = self.settings
        seconds = max(settings.max_open_seconds, settings.open_seconds)
        if not longest:
            seconds = min(settings.open_seconds * 2.0 ** min(self._openings, 30), seconds)
        self._opened = self._failed_at = now = self._clock()
        self._due = now + seconds * (1 - self._chance() / 4)
        self._openings += 1
        self._trying, self._row = False, 0
        self._since = float("-inf")
        self.reason, self.stubborn = why, longest
        self._turn(State.OPEN)

    def _turn(self, state: State) -> None:
        before, self._state = self._state, state
        if state is not before:
            self._heard(state)
