"""Health vocabulary: Terminus' for what is up or down, the four guides' for the report."""

from enum import StrEnum

from msgspec import UNSET, Struct, UnsetType


class HealthStatus(StrEnum):
    OK = "ok"
    DEGRADED = "degraded"
    ERROR = "error"


class CheckStatus(StrEnum):
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


class Check(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the report; `value` and `threshold` share the unit its name says (percent, milliseconds).

    `recent` are the last live outcomes, the newest last: `ok`, or a word of the failures.
    """

    status: CheckStatus
    value: float | None = None
    threshold: float | None = None
    loaded: int | None = None
    failed: int | None = None
    errors: int | None = None
    recent: tuple[str, ...] = ()
    latency_ms: float | None = None
    since: str | None = None
    reason: str | None = None
    critical: bool = False
    """While it is unhealthy, so is the whole, where `health.fail_on` or the operator says so."""


class Change(Struct, frozen=True, kw_only=True, rename={"before": "from", "after": "to"}):
    """A check turned from one status to another."""

    time: str
    check: str
    before: CheckStatus
    after: CheckStatus
    reason: str | None


class HealthReport(Struct, frozen=True, kw_only=True):
    """The body of `GET /health`; `redis` is absent when none is configured."""

    status: HealthStatus
    timestamp: str
    uptime: int
    version: str
    endpoints: dict[str, dict[str, str]]
    providers: dict[str, bool]
    redis: bool | UnsetType = UNSET
    checks: dict[str, Check]
