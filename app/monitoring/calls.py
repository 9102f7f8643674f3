"""What settled calls leave in the metrics."""

import time
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from app.domain.errors import OF_CALLERS, OF_NO_PROVIDER, Failure
from app.domain.llm import SERVED_AGAIN, CacheStatus
from app.domain.outcome import Outcome
from app.domain.usage import NO_USAGE
from app.monitoring.answers import LATENCY_BUCKETS
from app.monitoring.tally import Count, Distribution, Labels, Reading, Tally
from app.monitoring.window import Window

NONE = "none"
COMPLETE = "complete"
TOKEN_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
RATE_BUCKETS = (1, 2.5, 5, 10, 25, 50, 75, 100, 150, 200, 300, 500, 1000)
ACTIVE_SECONDS = 300.0
MOST_ACCOUNTS = 4096
NOT_OURS = OF_CALLERS | OF_NO_PROVIDER


class CallMetrics:
    """Children that calls of one kind need are looked up together, and kept: it is most of what counting costs."""

    def __init__(self, tally: Tally, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._families = _Families(tally, clock)
        self._accounts: dict[_Key, _Account] = {}
        self._keys_seen: dict[str, float] = {}
        self._models_seen: dict[str, float] = {}
        self.window = Window(clock)
        """Seconds of all calls."""
        self.failures = Window(clock)
        """Of those that failed, callers' own errors and leaving left out."""
        tally.add_source(self._activity)

    def settled(self, *outcomes: Outcome) -> None:
        self.settled_all(outcomes)

    def settled_all(self, outcomes: Sequence[Outcome]) -> None:
        now = self._clock()
        gathered: dict[int, tuple[_Account, list[Outcome]]] = {}
        for outcome in outcomes:
            key = (outcome.provider, outcome.public_model, outcome.cache, outcome.error, outcome.place != NONE)
            account = self._accounts.get(key) or self._opened(key)
            gathered.setdefault(id(account), (account, []))[1].append(outcome)
            self._keys_seen[outcome.caller] = now
        for account, alike in gathered.values():
            self._models_seen[alike[0].public_model] = now
            self._count(account, alike)

    def _count(self, account: "_Account", outcomes: list[Outcome]) -> None:
        count = len(outcomes)
        account.calls.value += count
        account.cache.value += count
        seconds = [outcome.seconds for outcome in outcomes]
        account.seconds.observe_all(seconds)
        self.window.observe_all(seconds)
        error = outcomes[0].error
        if error and error not in NOT_OURS:
            self.failures.observe_all(seconds)
        for outcome in outcomes:
            if outcome.sampled:
                account.seconds.exemplify(outcome.seconds, outcome.trace_id, time.time())
            if outcome.seconds_to_first_chunk is not None:
                self._families.streams.ended(outcome, again=account.again)
        if account.again:
            self._families.saved_prompt.value += sum([outcome.usage.prompt_tokens for outcome in outcomes])
            self._families.saved_completion.value += sum([outcome.usage.completion_tokens for outcome in outcomes])
        elif (used := account.used) is not None:
            used.count.value += count
            used.seconds.observe_all(seconds)
            used.model_window.observe_all(seconds)
            if used.errors is not None:
                used.errors.value += count
            self._families.spent(used, outcomes)

    def _opened(self, key: "_Key") -> "_Account":
        if len(self._accounts) >= MOST_ACCOUNTS:
            self._accounts.clear()
        account = self._accounts[key] = self._families.account(key)
        return account

    def _activity(self) -> Iterable[Reading]:
        since = self._clock() - ACTIVE_SECONDS
        for name, what, seen in (
            ("llm_active_keys", "Keys that called in the last five minutes", self._keys_seen),
            ("llm_active_models", "Models asked for in the last five minutes", self._models_seen),
        ):
            for key in [key for key, at in seen.items() if at < since]:
                del seen[key]
            yield Reading(name, what, len(seen))


_Key = tuple[str, str, CacheStatus, Failure | None, bool]
"""Provider, public model, what the cache said, how it failed, and whether a provider was asked."""


class _Account(Struct):
    """The children for calls that end alike."""

    calls: Count
    seconds: Distribution
    cache: Count
    again: bool
    used: "_Used | None"


class _Used(Struct):
    """The children for calls that a model worked for."""

    provider: str
    model: str
    count: Count
    seconds: Distribution
    model_window: Window
    errors: Count | None
    spending: "_Spending | None" = None


class _Spending(Struct):
    """The children for calls that used tokens."""

    prompt: Count
    completion: Count
    model_prompt: Count
    model_completion: Count
    generated: Count
    cost: Count
    rate: Distribution


class _Families:
    def __init__(self, tally: Tally, clock: Callable[[], float]) -> None:
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
        saved = counter("llm_cache_tokens_saved", "Tokens of answers served again", "type")
        self.saved_prompt, self.saved_completion = saved.of("prompt"), saved.of("completion")
        self._tokens = counter("llm_token_usage", "Tokens used, as providers counted them", "provider", "type")
        self._model_tokens = counter(
            "llm_model_tokens", "Tokens used, as providers counted them", "provider", "model", "type"
        )
        self._cost = counter("llm_cost_usd", "What providers say they charged", "provider", "model")
        self.streams = _Streams(tally)
        self._inferences = counter("model_inference", "Calls a provider was asked for, by model", "model")
        self._errors = counter(
            "model_inference_errors", "Calls that failed after a provider was asked", "model", "error_type"
        )
        self._generated = counter("model_tokens_generated", "Completion tokens", "model")
        self._model_seconds = histogram(
            "model_inference_duration_seconds", "From the call to its last byte", "model", bounds=LATENCY_BUCKETS
        )
        self._rate = histogram(
            "model_tokens_per_second", "Completion tokens of a call over its seconds", "model", bounds=RATE_BUCKETS
        )
        self._model_windows: dict[Labels, Window] = {}
        self._model_seconds.quantiles = self._model_windows.items

    def account(self, key: "_Key") -> _Account:
        """Who shared another call's failure has asked nobody."""
        provider, model, cache, error, asked = key
        again = cache in SERVED_AGAIN
        return _Account(
            self._calls.of(provider, "error" if error else "success"),
            self._seconds.of(provider),
            self._cache[cache],
            again,
            self._used(provider, model, error) if asked and not again else None,
        )

    def spent(self, used: _Used, outcomes: list[Outcome]) -> None:
        usages = [outcome.usage for outcome in outcomes if outcome.usage is not NO_USAGE]
        prompt, completion = (
            sum([each.prompt_tokens for each in usages]),
            sum([each.completion_tokens for each in usages]),
        )
        if not (prompt or completion):
            return
        spending = used.spending or self._spending(used)
        spending.prompt.value += prompt
        spending.completion.value += completion
        spending.model_prompt.value += prompt
        spending.model_completion.value += completion
        spending.generated.value += completion
        spending.cost.value += sum([each.cost_nano_usd or 0 for each in usages]) / 1e9
        rates = [
            each.usage.completion_tokens / each.seconds
            for each in outcomes
            if each.usage.completion_tokens and each.seconds > 0
        ]
        spending.rate.observe_all(rates)

    def _used(self, provider: str, model: str, error: Failure | None) -> _Used:
        seconds = self._model_seconds.of(model)
        label = next(labels for labels, child in self._model_seconds.children.items() if child is seconds)
        self._generated.of(model)
        return _Used(
            provider,
            model,
            self._inferences.of(model),
            seconds,
            self._model_windows.setdefault(label, Window(self._clock)),
            self._errors.of(model, error) if error else None,
        )

    def _spending(self, used: _Used) -> _Spending:
        provider, model = used.provider, used.model
        used.spending = _Spending(
            self._tokens.of(provider, "prompt"),
            self._tokens.of(provider, "completion"),
            self._model_tokens.of(provider, model, "prompt"),
            self._model_tokens.of(provider, model, "completion"),
            self._generated.of(model),
            self._cost.of(provider, model),
            self._rate.of(model),
        )
        return used.spending


class _Streams:
    def __init__(self, tally: Tally) -> None:
        self._ended = tally.counter("llm_streams", "Streams that had begun, by how they ended", "provider", "ending")
        self._chunks = tally.counter("llm_stream_chunks", "Events of streams, usage included", "provider")
        self._bytes = tally.counter("llm_stream_bytes", "Bytes of those events", "provider")
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
        self._model_first = tally.histogram(
            "model_time_to_first_token_seconds",
            "From the call to the first event of a stream",
            "model",
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
        self._model_first.of(outcome.public_model).observe(first)
        self._gap.of(provider).observe(outcome.largest_gap)
        tokens = outcome.usage.completion_tokens
        if tokens > 1:
            self._per_token.of(provider).observe((outcome.seconds - first) / (tokens - 1))
