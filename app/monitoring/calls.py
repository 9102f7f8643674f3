"""What settled calls leave in the metrics."""

import time
from collections.abc import Callable, Iterable

from app.domain.llm import SERVED_AGAIN, CacheStatus
from app.domain.outcome import Outcome
from app.monitoring.answers import LATENCY_BUCKETS
from app.monitoring.tally import Labels, Reading, Tally
from app.monitoring.window import Window

NONE = "none"
COMPLETE = "complete"
TOKEN_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
RATE_BUCKETS = (1, 2.5, 5, 10, 25, 50, 75, 100, 150, 200, 300, 500, 1000)
ACTIVE_SECONDS = 300.0


class CallMetrics:
    def __init__(self, tally: Tally, *, clock: Callable[[], float] = time.monotonic) -> None:
        counter, histogram = tally.counter, tally.histogram
        self._clock = clock
        self._calls = counter("llm_requests", "Settled calls, cache hits included", "provider", "status")
        self._seconds = histogram(
            "llm_request_duration_seconds", "From the call to its last byte", "provider", bounds=LATENCY_BUCKETS
        )
        self._cache = {
            status: counter(f"llm_cache_{name}", text).of()
            for status, name, text in (
                (CacheStatus.HIT, "hits", "Calls answered from the cache or by another call's answer"),
                (CacheStatus.MISS, "misses", "Calls looked up in vain"),
                (CacheStatus.BYPASS, "bypasses", "Calls that were not looked up"),
            )
        }
        self._cache[CacheStatus.COALESCED] = self._cache[CacheStatus.HIT]
        self._saved = counter("llm_cache_tokens_saved", "Tokens of answers served again", "type")
        self._tokens = counter("llm_token_usage", "Tokens used, as providers counted them", "provider", "type")
        self._model_tokens = counter(
            "llm_model_tokens", "Tokens used, as providers counted them", "provider", "model", "type"
        )
        self._cost = counter("llm_cost_usd", "What providers say they charged", "provider", "model")
        self._streams = _Streams(tally)
        self._models = _Models(tally)
        self.window = Window(clock)
        self.windows: dict[str, Window] = {}
        self._keys_seen: dict[str, float] = {}
        self._models_seen: dict[str, float] = {}
        tally.add_source(self._activity)

    def settled(self, outcome: Outcome) -> None:
        provider, model, usage, now = outcome.provider, outcome.public_model, outcome.usage, self._clock()
        self._calls.of(provider, "error" if outcome.error else "success").value += 1
        seconds = self._seconds.of(provider)
        seconds.observe(outcome.seconds)
        if outcome.trace_id:
            seconds.exemplify(outcome.seconds, outcome.trace_id, time.time())
        self.window.observe(outcome.seconds)
        self._cache[outcome.cache].value += 1
        self._keys_seen[outcome.caller] = self._models_seen[model] = now
        again = outcome.cache in SERVED_AGAIN
        if outcome.seconds_to_first_chunk is not None:
            self._streams.ended(outcome, again=again)
        if again:
            self._saved.of("prompt").value += usage.prompt_tokens
            self._saved.of("completion").value += usage.completion_tokens
            return
        if provider != NONE:
            self._models.ran(outcome)
            self._window_of(provider).observe(outcome.seconds_upstream)
        if usage.prompt_tokens or usage.completion_tokens:
            self._tokens.of(provider, "prompt").value += usage.prompt_tokens
            self._tokens.of(provider, "completion").value += usage.completion_tokens
            self._model_tokens.of(provider, model, "prompt").value += usage.prompt_tokens
            self._model_tokens.of(provider, model, "completion").value += usage.completion_tokens
        if provider != NONE:
            self._cost.of(provider, model).value += (usage.cost_nano_usd or 0) / 1e9

    def _window_of(self, provider: str) -> Window:
        if (window := self.windows.get(provider)) is None:
            window = self.windows[provider] = Window(self._clock)
        return window

    def _activity(self) -> Iterable[Reading]:
        since = self._clock() - ACTIVE_SECONDS
        for name, what, seen in (
            ("llm_active_keys", "Keys that called in the last five minutes", self._keys_seen),
            ("llm_active_models", "Models asked for in the last five minutes", self._models_seen),
        ):
            for key in [key for key, at in seen.items() if at < since]:
                del seen[key]
            yield Reading(name, what, len(seen))


class _Streams:
    def __init__(self, tally: Tally) -> None:
        self._ended = tally.counter("llm_streams", "Streams that had begun, by how they ended", "provider", "ending")
        self._chunks = tally.counter("llm_stream_chunks", "Events sent to callers", "provider")
        self._bytes = tally.counter("llm_stream_bytes", "Bytes of events sent to callers", "provider")
        self._first = tally.histogram(
            "llm_time_to_first_chunk_seconds",
            "From the call to the first event of a stream",
            "provider",
            bounds=LATENCY_BUCKETS,
        )
        self._gap = tally.histogram(
            "llm_stream_largest_gap_seconds",
            "The longest wait between two events of a stream",
            "provider",
            bounds=LATENCY_BUCKETS,
        )
        self._per_token = tally.histogram(
            "llm_time_per_output_token_seconds",
            "From a stream's first event to its last, over its tokens but one",
            "provider",
            bounds=TOKEN_BUCKETS,
        )

    def ended(self, outcome: Outcome, *, again: bool) -> None:
        provider, first = outcome.provider, outcome.seconds_to_first_chunk or 0.0
        self._ended.of(provider, outcome.error or COMPLETE).value += 1
        self._chunks.of(provider).value += outcome.chunks
        self._bytes.of(provider).value += outcome.chunk_bytes
        if again:
            return
        self._first.of(provider).observe(first)
        self._gap.of(provider).observe(outcome.largest_gap)
        tokens = outcome.usage.completion_tokens
        if tokens > 1:
            self._per_token.of(provider).observe((outcome.seconds - first) / (tokens - 1))


class _Models:
    """What a guide calls inference: calls that a provider was asked for."""

    def __init__(self, tally: Tally) -> None:
        self._count = tally.counter("model_inference", "Calls a provider was asked for, by model", "model")
        self._errors = tally.counter(
            "model_inference_errors", "Calls that failed after a provider was asked", "model", "error_type"
        )
        self._generated = tally.counter("model_tokens_generated", "Completion tokens", "model")
        self._seconds = tally.histogram(
            "model_inference_duration_seconds", "From the call to its last byte", "model", bounds=LATENCY_BUCKETS
        )
        self._first = tally.histogram(
            "model_time_to_first_token_seconds",
            "From the call to the first event of a stream",
            "model",
            bounds=LATENCY_BUCKETS,
        )
        self._rate = tally.histogram(
            "model_tokens_per_second", "Completion tokens of a call over its seconds", "model", bounds=RATE_BUCKETS
        )
        self._windows: dict[Labels, Window] = {}
        self._seconds.quantiles = self._windows.items

    def ran(self, outcome: Outcome) -> None:
        model = outcome.public_model
        self._count.of(model).value += 1
        seconds = self._seconds.of(model)
        seconds.observe(outcome.seconds)
        if seconds.window is None:
            seconds.window = Window()
            label = next(labels for labels, child in self._seconds.children.items() if child is seconds)
            self._windows[label] = seconds.window
        seconds.window.observe(outcome.seconds)
        if outcome.error:
            self._errors.of(model, outcome.error).value += 1
        if outcome.seconds_to_first_chunk is not None:
            self._first.of(model).observe(outcome.seconds_to_first_chunk)
        tokens = outcome.usage.completion_tokens
        self._generated.of(model).value += tokens
        if tokens and outcome.seconds > 0:
            self._rate.of(model).observe(tokens / outcome.seconds)
