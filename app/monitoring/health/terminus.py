"""The report in the shape of `@nestjs/terminus`, which LLM Service answers with: milliseconds, and shares of 1."""

from typing import Any

from app.domain.health import Check, CheckStatus, HealthReport, HealthStatus
from app.monitoring.calls import CallMetrics
from app.monitoring.metrics import Metrics

DEGRADED_FROM = 0.05
WORDS = {CheckStatus.HEALTHY: "up", CheckStatus.DEGRADED: "degraded", CheckStatus.UNHEALTHY: "down"}
PROVIDER = "provider:"
ADDED = ("custom:", "model:")


def terminus(report: HealthReport, metrics: Metrics) -> dict[str, Any]:
    """`error` has what makes the whole an error, `info` the rest, and `details` both.

    `system` is of the last five minutes; the machine's own checks are in `/health`.
    """
    fatal = report.status is HealthStatus.ERROR
    details: dict[str, Any] = {}
    if "redis" in report.checks:
        details["redis"] = _redis(report.checks["redis"])
    details["providers"] = _providers(report, fatal=fatal)
    details["system"] = _system(metrics)
    details |= {
        name: {"status": WORDS[check.status], "details": _told(check)}
        for name, check in report.checks.items()
        if name.startswith(ADDED)
    }
    error = {name: each for name, each in details.items() if fatal and name != "redis" and each["status"] == "down"}
    return {
        "status": "error" if fatal else "ok",
        "info": {name: each for name, each in details.items() if name not in error},
        "error": error,
        "details": details,
    }


def _redis(check: Check) -> dict[str, Any]:
    """Never an error: without it calls are answered all the same."""
    is_up = check.status is not CheckStatus.UNHEALTHY
    told = {"connection": "connected" if is_up else "disconnected", "latency": check.latency_ms}
    return {"status": "up" if is_up else "down", "details": told | _told(check)}


def _providers(report: HealthReport, *, fatal: bool) -> dict[str, Any]:
    checks = {name.removeprefix(PROVIDER): each for name, each in report.checks.items() if name.startswith(PROVIDER)}
    down = [each for each in checks.values() if each.status is CheckStatus.UNHEALTHY]
    troubled = any(each.status is not CheckStatus.HEALTHY for each in checks.values())
    told: dict[str, dict[str, Any]] = {
        name: {"status": WORDS[each.status], "latency": each.latency_ms} | _told(each) for name, each in checks.items()
    }
    return {"status": "down" if down and fatal else "degraded" if troubled else "up", "details": told}


def _system(metrics: Metrics) -> dict[str, Any]:
    metrics.catch_up()
    rate = error_rate(metrics.calls)
    told = {
        "errorRate": round(rate, 4),
        "activeRequests": metrics.providers.on_their_way(),
        "averageLatency": round(metrics.calls.window.average * 1000, 2),
    }
    return {"status": "degraded" if rate >= DEGRADED_FROM else "up", "details": told}


def error_rate(calls: CallMetrics) -> float:
    """The share of calls that failed, of those in the last five minutes; what callers did is no failure."""
    return calls.failures.count / calls.window.count if calls.window.count else 0.0


def _told(check: Check) -> dict[str, str]:
    return {"message": check.reason} if check.reason else {}
