"""The last stage: ask the targets in turn until one answers."""

import asyncio
import random
import time
from collections.abc import Callable

from app.domain.errors import NoTargetError, QueueTimeoutError, word_of
from app.domain.llm import Reply
from app.domain.trace import Attempt
from app.domain.upstream_errors import UpstreamError
from app.monitoring.health.service import HealthService
from app.monitoring.metrics import ProviderMetrics
from app.providers.registry import ProviderRegistry, Target
from app.services.stages.base import Call
from app.services.stages.explaining import explainer
from app.settings import RetrySettings

FALLBACK = "fallback"


class FallbackDispatcher:
    """The same target again, where that is safe; then the next one. The last one's answer is the caller's.

    Nothing is tried again after the first byte of an answer.
    """

    def __init__(
        self,
        registry: ProviderRegistry,
        metrics: ProviderMetrics,
        health: HealthService,
        settings: RetrySettings,
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._registry = registry
        self._metrics = metrics
        self._health = health
        self._settings = settings
        self._chance = chance
        self._explainer = explainer(metrics)

    async def __call__(self, call: Call) -> Reply:
        last: UpstreamError | None = None
        retries = 0
        model, passage, name = call.request.model, call.passage, ""
        try:
            targets = self._registry.route(model) or await self._registry.targets_for(model)
            call.public_model = self._registry.public_name(model)
            passage.routed = time.perf_counter()
            for target in targets:
                if last is not None:
                    self._metrics.left(name, last.word)
                name = target.provider.name
                self._metrics.chosen(name, target.reason if last is None else FALLBACK)
                if self._explainer is not None:
                    self._explainer.chose(call, target, targets, last)
                while True:
                    try:
                        return await self._attempt(call, target)
                    except UpstreamError as error:
                        last = error
                    wait = self._wait(last, retries)
                    if wait is None:
                        break
                    retries += 1
                    self._metrics.retried(name, last.word)
                    if self._explainer is not None:
                        self._explainer.again(call, target, wait, last)
                    await asyncio.sleep(wait)
                if not last.fallback:
                    break
            raise last or NoTargetError(f"nobody serves {model!r} now", retry_after=1)
        finally:
            passage.answered = time.perf_counter()
            del last  # or its traceback holds this frame, and that the error

    def _wait(self, error: UpstreamError, retries: int) -> float | None:
        """Seconds until the same target may be asked again, or None where it may not."""
        settings = self._settings
        if not error.retry or retries >= settings.max_retries:
            return None
        if error.retry_after is not None:
            return error.retry_after if error.retry_after <= settings.max_wait_seconds else None
        wait: float = min(settings.backoff_seconds * 2.0**retries, settings.max_wait_seconds)
        return wait * (0.5 + self._chance() / 2)

    async def _attempt(self, call: Call, target: Target) -> Reply:
        name = target.provider.name
        self._metrics.moved(call.place, name, call.public_model)
        call.place = name
        started, trace = time.perf_counter(), call.passage.trace
        attempt = None if trace is None else trace.asks(name, target.model, started)
        lines = b"" if trace is None or attempt is None else trace.lines_for(attempt)
        try:
            reply = await target.provider.answer(call.request, model=target.model, lines=lines)
        except BaseException as error:
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
            self._health.attempted(name, None, hurts=False)
            if attempt is not None:
                attempt.end(now, reply)
        else:
            call.taps.append(_Watching(call, name, self._metrics, self._health))
            if attempt is not None:
                call.taps.append(_Timing(attempt, reply))
        return reply

    def _failed(self, call: Call, name: str, error: BaseException, started: float, attempt: Attempt | None) -> None:
        """Every attempt counts, one that its caller cut short too."""
        word, now = word_of(error), time.perf_counter()
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

    def __init__(self, call: Call, name: str, metrics: ProviderMetrics, health: HealthService) -> None:
        self._call = call
        self._name = name
        self._metrics = metrics
        self._health = health
        self._watch = health.watch_of(name)
        self._watch.flowing = True  # the first event is here

    def saw(self, events: bytes) -> None:
        self._watch.flowing = True

    def ended(self, error: BaseException | None) -> None:
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
