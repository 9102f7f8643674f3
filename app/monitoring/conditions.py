"""What the checks leave in the metrics."""

from collections.abc import Collection, Iterable
from functools import partial

from app.cache.base import RedisState
from app.domain.health import CheckStatus
from app.monitoring.tally import Reading, Tally

CHECK_BUCKETS = (0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10)
LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
VALUES = {CheckStatus.HEALTHY: 1.0, CheckStatus.DEGRADED: 0.5, CheckStatus.UNHEALTHY: 0.0}


class HealthMetrics:
    def __init__(self, tally: Tally) -> None:
        self._status = tally.gauge("llm_health_status", "1 healthy, 0.5 degraded, 0 unhealthy", "check")
        self._transitions = tally.counter("llm_health_transitions", "Times a check turned", "check", "to")
        self._seconds = tally.histogram(
            "llm_health_check_duration_seconds", "Asking how it is", "check", bounds=CHECK_BUCKETS
        )
        self._loaded = tally.gauge("llm_models_loaded", "Models listed by providers that are up").of()
        self._failed = tally.gauge("llm_models_failed", "Models out of reach, their providers being down").of()
        self.lag = tally.histogram(
            "llm_event_loop_lag_seconds", "How late the event loop was, four times a second", bounds=LAG_BUCKETS
        ).of()

    def asked(self, check: str, seconds: float) -> None:
        self._seconds.of(check).observe(seconds)

    def stands(self, check: str, status: CheckStatus) -> None:
        self._status.of(check).value = VALUES[status]

    def only(self, checks: Collection[str]) -> None:
        """There are no others any more."""
        self._status.keep(lambda labels: labels[0] in checks)

    def turned(self, check: str, status: CheckStatus) -> None:
        self._transitions.of(check, status).value += 1
        self.stands(check, status)

    def models(self, loaded: int, failed: int) -> None:
        self._loaded.value, self._failed.value = loaded, failed


class RedisMetrics:
    """Only where a Redis is configured; what was never asked counts as up."""

    def __init__(self, tally: Tally, state: RedisState | None) -> None:
        self._up = tally.gauge("llm_redis_up", "1 while Redis answers").of()
        self._up.value = 1
        self._latency = tally.gauge("llm_redis_latency_seconds", "Its last ping, an unanswered one included").of()
        if state is not None:
            tally.add_source(partial(_told_by, state))

    def asked(self, *, is_up: bool, seconds: float) -> None:
        self._up.value, self._latency.value = float(is_up), seconds


def _told_by(state: RedisState) -> Iterable[Reading]:
    yield Reading("llm_redis_breaker_state", "0 closed, 1 half-open, 2 open: Redis is left alone", state.breaker)
    yield Reading("llm_redis_policy_unsafe", "1 where a full Redis refuses writes", float(state.policy_unsafe))
    for kind, errors in state.errors.items():
        yield Reading("llm_redis_errors_total", "Failures of Redis", errors, "counter", (("kind", kind),))
