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
    """One line of the report; `value` and `threshold` share the unit its name says (percent, milliseconds)."""

    status: CheckStatus
    value: float | None = None
    threshold: float | None = None
    loaded: int | None = None
    failed: int | None = None
    latency_ms: float | None = None
    since: str | None = None
    reason: str | None = None


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
