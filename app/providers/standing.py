"""What a provider's latest attempts have left it: its breakers, and how often it may be asked again."""

import random
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import structlog

from app.domain.upstream_errors import UpstreamError
from app.providers.breaker import Breaker, State
from app.providers.retry_budget import RetryBudget
from app.settings import BreakerSettings, RetrySettings

WHOLE = ""
"""In place of a model: the provider itself."""
MOST_MODELS = 256
LONGEST_NAME = 80
SCOPES = SCOPE_PROVIDER, SCOPE_MODEL = "provider", "model"
WORST_FIRST = (State.OPEN, State.HALF_OPEN, State.CLOSED)

logger = structlog.get_logger("signalbox.breakers")


class Trial(NamedTuple):
    """Of which breakers an attempt is the trial."""

    whole: bool = False
    model: bool = False


NO_TRIAL = Trial()


class Standing:
    """One provider's. Nobody has a breaker before something has failed, so that all others are spared the look.

    A provider that cannot be reached, or refuses our key, fails as a whole; everything else is one model's.
    """

    def __init__(
        self,
        name: str,
        breaker: BreakerSettings,
        retry: RetrySettings,
        *,
        clock: Callable[[], float] = time.perf_counter,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self.known: dict[str, Breaker] = {}
        """By model; empty while there is nothing to know."""
        self.retries = RetryBudget(retry, clock=clock)
        self.skipped = 0
        self.turns: dict[tuple[str, State], int] = {}
        """How often a breaker turned, by `scope` and to what."""
        self.heard: Callable[[], object] = int
        """Told when one has turned."""
        self._settings = breaker
        self._clock = clock
        self._chance = chance

    def configure(self, breaker: BreakerSettings, retry: RetrySettings) -> None:
        """From now on; what is known stays known."""
        self._settings, self.retries.settings = breaker, retry
        if not breaker.failures:
            self.known.clear()
        for each in self.known.values():
            each.settings = breaker

    def wait(self, model: str) -> float:
        """Seconds until a call for `model` may be sent, 0 for now."""
        known = self.known
        return max((known[each].wait() for each in (WHOLE, model) if each in known), default=0.0)

    def begin(self, model: str) -> Trial:
        """An attempt, for which there is no wait; it must be told how it `ended`."""
        whole, own = self.known.get(WHOLE), self.known.get(model)
        return Trial(whole is not None and whole.begin(), own is not None and own.begin())

    def answered(self, model: str, trial: Trial) -> None:
        """A stream has begun; its attempt is a trial no longer."""
        whole, own = self.known.get(WHOLE), self.known.get(model)
        if whole is not None and trial.whole:
            whole.well(0.0, trial=True)
        if own is not None and trial.model:
            own.answered()

    def ended(self, model: str, started: float, error: BaseException | None, trial: Trial = NO_TRIAL) -> None:
        """`started` is on the clock; an error that is not the provider's tells nothing."""
        upstream = error if isinstance(error, UpstreamError) else None
        if upstream is not None and upstream.hurts and self._settings.failures:
            self._failed(model, started, upstream, trial)
        elif self.known:
            if error is None:
                self._well(model, started, trial=trial.model)
            else:
                self._released(model, trial=trial.model)
            if error is None or upstream is not None:
                self._well(WHOLE, started, trial=trial.whole)
            else:
                self._released(WHOLE, trial=trial.whole)

    def reached(self) -> None:
        """A free question was answered: whom calls could not reach may be tried at once."""
        if (whole := self.known.get(WHOLE)) is not None and whole.state is State.OPEN and not whole.stubborn:
            whole.come_back()
            self.heard()

    def state_of(self, model: str) -> State:
        """The worse of the model's and the provider's."""
        return _worst(self.known[each].state for each in (WHOLE, model) if each in self.known)

    def states(self) -> tuple[State, State]:
        """Of the provider as a whole, and of the worst of its models."""
        self._forget()
        whole = self.known.get(WHOLE)
        return whole.state if whole else State.CLOSED, _worst(
            each.state for model, each in self.known.items() if model != WHOLE
        )

    def trouble(self) -> str:
        """Which breaker is not closed, in a few words; empty where all are."""
        worst = self._worst_place()
        if worst is None:
            return ""
        whose = "the breaker" if worst == WHOLE else f"the breaker of {worst[:LONGEST_NAME]}"
        more = sum(each.state is not State.CLOSED for each in self.known.values()) - 1
        return f"{whose}{f', and {more} more,' if more else ''} is {self.known[worst].state.replace('_', '-')}"

    def why(self) -> str:
        """The reason it opened for."""
        worst = self._worst_place()
        return "" if worst is None else self.known[worst].reason

    def _worst_place(self) -> str | None:
        """The provider itself before its models."""
        shut = {place: each.state for place, each in self.known.items() if each.state is not State.CLOSED}
        if WHOLE in shut:
            return WHOLE
        return min(shut, key=lambda place: WORST_FIRST.index(shut[place]), default=None)

    def _failed(self, model: str, started: float, error: UpstreamError, trial: Trial) -> None:
        why = f"{error.word}: {error.detail}" if error.detail else str(error.word)
        if error.of_all_models:
            self._released(model, trial=trial.model)
            self._breaker(WHOLE).failed(started, why, trial=trial.whole, at_once=error.key_refused)
        else:
            self._well(WHOLE, started, trial=trial.whole)
            self._breaker(model).failed(started, why, trial=trial.model)

    def _well(self, place: str, started: float, *, trial: bool) -> None:
        if (breaker := self.known.get(place)) is not None:
            breaker.well(started, trial=trial)
            if breaker.quiet:
                self.known.pop(place, None)  # who was told of a turn may have looked around, and forgotten it

    def _released(self, place: str, *, trial: bool) -> None:
        if trial and (breaker := self.known.get(place)) is not None:
            breaker.release()

    def _breaker(self, place: str) -> Breaker:
        if (found := self.known.get(place)) is None:
            if len(self.known) > MOST_MODELS:
                self._make_room()
            told = partial(self._turned, place)
            found = Breaker(self._settings, heard=told, clock=self._clock, chance=self._chance)
            self.known[place] = found
        return found

    def _make_room(self) -> None:
        """Names come from callers, and there is no end to them: the oldest goes, one that is closed before others."""
        self._forget()
        models = [place for place in self.known if place != WHOLE]
        closed = [place for place in models if self.known[place].state is State.CLOSED]
        del self.known[next(iter(closed or models))]

    def _forget(self) -> None:
        for place in [place for place, each in self.known.items() if each.quiet]:
            del self.known[place]

    def _turned(self, place: str, state: State) -> None:
        scope = SCOPE_PROVIDER if place == WHOLE else SCOPE_MODEL
        self.turns[scope, state] = self.turns.get((scope, state), 0) + 1
        told = {"provider": self.name} | ({"model": place} if place else {}) | {"to": state}
        if state is State.OPEN and (breaker := self.known.get(place)) is not None:
            logger.warning("breaker turned", **told, reason=breaker.reason, seconds=round(breaker.wait(), 1))
        else:
            logger.info("breaker turned", **told)
        self.heard()


class Standings:
    """Of all providers, by name. One object for the life of the process: what is known outlives the settings."""

    def __init__(self, breaker: BreakerSettings, retry: RetrySettings) -> None:
        self._settings = breaker, retry
        self._each: dict[str, Standing] = {}

    def of(self, provider: str) -> Standing:
        if (found := self._each.get(provider)) is None:
            found = self._each[provider] = Standing(provider, *self._settings)
        return found

    def held(self, providers: Iterable[str]) -> "Standings":
        """The same ones, for calls that may outlive a reload: they tell nothing of whom the name means then."""
        held = Standings(*self._settings)
        held._each = {name: self.of(name) for name in providers}
        return held

    def each(self) -> Iterable[Standing]:
        return self._each.values()

    @property
    def troubled(self) -> bool:
        return any(each.known for each in self._each.values())

    def configure(self, breaker: BreakerSettings, retry: RetrySettings) -> None:
        """Other settings from now on, for all that is known already too."""
        self._settings = breaker, retry
        for each in self._each.values():
            each.configure(breaker, retry)

    def forget(self, provider: str) -> Standing | None:
        """Its row has changed or gone: what was known of the old one tells nothing of a new one; it is given back."""
        return self._each.pop(provider, None)

    def restore(self, standing: Standing) -> None:
        """It was forgotten too soon."""
        self._each[standing.name] = standing


def _worst(states: Iterable[State]) -> State:
    return min(states, key=WORST_FIRST.index, default=State.CLOSED)
