"""The last stage: ask the targets in turn until one answers."""

import asyncio
import math
import random
import time
from collections.abc import Callable
from functools import partial

from app.domain.errors import Failure, NoTargetError, QueueTimeoutError, word_of
from app.domain.llm import Reply
from app.domain.trace import Attempt
from app.domain.upstream_errors import UpstreamError
from app.monitoring.health.service import HealthService
from app.monitoring.metrics import ProviderMetrics
from app.providers.registry import ProviderRegistry, Target
from app.providers.standing import NO_TRIAL, Standing, Standings
from app.services.stages.base import Call
from app.services.stages.explaining import Skipped, explainer
from app.settings import RetrySettings

FALLBACK = "fallback"


class FallbackDispatcher:
    """The same target again, where that is safe; then the next one. The last one's answer is the caller's.

    Nothing is tried again after the first byte of an answer. A target whose breaker is open is passed over as if it
    were not there; when there is no other, the caller is told at once when to come back.
    """

    def __init__(  # noqa: PLR0913 - what it asks, and whom it tells
        self,
        registry: ProviderRegistry,
        standings: Standings,
        metrics: ProviderMetrics,
        health: HealthService,
        settings: RetrySettings,
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._registry = registry
        self._standings = standings
        self._metrics = metrics
        self._health = health
        self._settings = settings
        self._chance = chance
        self._explainer = explainer(metrics)

    async def __call__(self, call: Call) -> Reply:
        last: UpstreamError | None = None
        retries = 0
        skipped: tuple[Skipped, ...] = ()
        model, passage, name = call.request.model, call.passage, ""
        try:
            targets = self._registry.route(model) or await self._registry.targets_for(model)
            call.public_model = self._registry.public_name(model)
            passage.routed = time.perf_counter()
            for target in targets:
                standing = self._standings.of(target.provider.name)
                if standing.known and (wait := standing.wait(target.model)):
                    standing.skipped += 1
                    skipped = (*skipped, Skipped(target, wait))
                    continue
                if last is not None:
                    self._metrics.left(name, last.word)
                name = standing.name
                self._metrics.chosen(name, FALLBACK if last is not None or skipped else target.reason)
                if self._explainer is not None:
                    self._explainer.chose(call, target, targets, last, skipped)
                standing.retries.calls += 1
                while True:
                    try:
                        return await self._attempt(call, target, standing)
                    except UpstreamError as error:
                        last = error
                    if not await self._again(call, target, standing, last, retries):
                        break
                    retries += 1
                if not last.fallback:
                    break
            raise last or self._nobody(call, skipped)
        finally:
            passage.answered = time.perf_counter()
            del last  # or its traceback holds this frame, and that the error

    async def _again(self, call: Call, target: Target, standing: Standing, error: UpstreamError, retries: int) -> bool:
        """Whether the same target may be asked again; it is time to, then."""
        wait = self._wait(error, retries)
        if wait is None or standing.wait(target.model) or not standing.retries.take():
            return False
        if self._explainer is not None:
            self._explainer.again(call, target, wait, error)
        await asyncio.sleep(wait)
        if standing.wait(target.model):  # others have failed meanwhile
            return False
        self._metrics.retried(standing.name, error.word)
        return True

    def _wait(self, error: UpstreamError, retries: int) -> float | None:
        """Seconds until the same target may be asked again, or None where it may not."""
        settings = self._settings
        if not error.retry or retries >= settings.max_retries:
            return None
        if error.retry_after is not None:
            return error.retry_after if error.retry_after <= settings.max_wait_seconds else None
        wait: float = min(settings.backoff_seconds * 2.0**retries, settings.max_wait_seconds)
        return wait * (0.5 + self._chance() / 2)

    def _nobody(self, call: Call, skipped: tuple[Skipped, ...]) -> NoTargetError:
        model = call.request.model
        if not skipped:
            return NoTargetError(f"nobody serves {model!r} now", retry_after=1)
        if self._explainer is not None:
            self._explainer.nobody(call, skipped)
        seconds = max(1, math.ceil(min(each.seconds for each in skipped)))
        names = ", ".join(dict.fromkeys(each.target.provider.name for each in skipped))
        message = f"nobody is asked for {model!r} now: too many calls have failed ({names}); try again in {seconds} s"
        return NoTargetError(message, retry_after=seconds)

    async def _attempt(self, call: Call, target: Target, standing: Standing) -> Reply:
        name = standing.name
        self._metrics.moved(call.place, name, call.public_model)
        call.place = name
        started, trace = time.perf_counter(), call.passage.trace
        attempt = None if trace is None else trace.asks(name, target.model, started)
        lines = b"" if trace is None or attempt is None else trace.lines_for(attempt)
        trial = standing.begin(target.model) if standing.known else NO_TRIAL
        try:
            reply = await target.provider.answer(call.request, model=target.model, lines=lines)
        except BaseException as error:
            standing.ended(target.model, started, error, trial)
            self._failed(call, name, error, started, attempt)
            raise
        now = time.perf_counter()
        seconds = now - started
        call.seconds_upstream += seconds
        call.passage.connecting += reply.seconds_connecting
        call.attempts += f"{name}:ok"
        self._metrics.attempted(name, seconds)
        if attempt is not None:
            attempt.answered = now
        if isinstance(reply.body, bytes):
            if standing.known:
                standing.ended(target.model, started, None, trial)
            self._health.attempted(name, None, hurts=False)
            if attempt is not None:
                attempt.end(now, reply)
        else:
            standing.answered(target.model, trial)
            ended = partial(standing.ended, target.model, started)
            call.taps.append(_Watching(call, name, self._metrics, self._health, ended))
            if attempt is not None:
                call.taps.append(_Timing(attempt, reply))
        return reply

    def _failed(self, call: Call, name: str, error: BaseException, started: float, attempt: Attempt | None) -> None:
        """Every attempt counts, one that its caller cut short too."""
        word, now = word_of(error), time.perf_counter()
        if isinstance(error, asyncio.CancelledError) and not call.presence.left:
            word = Failure.CANCELLED_BY_SHUTDOWN  # nobody else cancels
        seconds = now - started
        if attempt is not None:
            attempt.end(now, None, word)
        call.attempts += f"{name}:{word},"
        call.seconds_upstream += seconds
        self._metrics.attempted(name, seconds, word)
        if isinstance(error, QueueTimeoutError) or getattr(error, "connecting", False):
            call.passage.connecting += seconds
        if isinstance(error, UpstreamError):
            self._health.attempted(name, word, hurts=error.hurts, detail=error.detail)


class _Watching:
    """A stream that breaks is a failed attempt too, though nobody else may be asked any more."""

    def __init__(
        self,
        call: Call,
        name: str,
        metrics: ProviderMetrics,
        health: HealthService,
        told: Callable[[BaseException | None], object],
    ) -> None:
        self._call = call
        self._told = told
        self._name = name
        self._metrics = metrics
        self._health = health
        self._watch = health.watch_of(name)
        self._watch.flowing = True  # the first event is here

    def saw(self, events: bytes) -> None:
        self._watch.flowing = True

    def ended(self, error: BaseException | None) -> None:
        self._told(error)
        if error is None:
            self._health.attempted(self._name, None, hurts=False)
        elif isinstance(error, UpstreamError):
            self._call.attempts = f"{self._call.attempts.removesuffix(':ok')}:{error.word}"
            self._metrics.stream_broke(self._name, error.word)
            self._health.attempted(self._name, error.word, hurts=error.hurts)


class _Timing:
    """An attempt at a stream is over when the stream is."""

    def __init__(self, attempt: Attempt, reply: Reply) -> None:
        self._attempt = attempt
        self._reply = reply

    def saw(self, events: bytes) -> None:
        return None

    def ended(self, error: BaseException | None) -> None:
        self._attempt.end(time.perf_counter(), self._reply, "" if error is None else word_of(error))
