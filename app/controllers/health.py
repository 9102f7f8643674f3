"""Liveness and readiness for machines, the full report for people."""

from typing import Any

import msgspec
from litestar import Controller, HttpMethod, Request, Response, route
from litestar.datastructures import CacheControlHeader
from litestar.di import NamedDependency

from app.controllers.door import Door
from app.controllers.policies import Listener, Policy
from app.domain.health import HealthReport, HealthStatus
from app.monitoring.health.service import HealthService
from app.monitoring.health.terminus import terminus
from app.monitoring.metrics import Metrics
from app.services.drain import Drain

ASKED = (HttpMethod.GET, HttpMethod.HEAD)  # some load balancers only want the status


class HealthController(Controller):
    tags = ["Operations"]
    opt = {"policy": Policy.OPEN}
    cache_control = CacheControlHeader(no_store=True)

    @route("/health", http_method=ASKED)
    async def report(self, request: Request, health: NamedDependency[HealthService]) -> Response[dict[str, Any]]:
        """Everything watched; 503 as `health.fail_on` says. Without a key, where keys are set, only the status.

        `?details` adds what turned lately, the newest first.
        """
        report = await health.report()
        code = _code(report)
        body: dict[str, Any] = msgspec.to_builtins(report)
        if not _may_see_details(request, code):
            body = {"status": body["status"], "timestamp": body["timestamp"]}
        elif "details" in request.query_params:
            body["history"] = msgspec.to_builtins(health.changes())
        return Response(body, status_code=code)

    @route(["/health/live", "/livez", "/health/liveliness"], http_method=ASKED, sync_to_thread=False)
    def live(self) -> dict[str, str]:
        """The process answers; says nothing about what it depends on."""
        return {"status": HealthStatus.OK}

    @route(["/health/ready", "/readyz", "/health/readiness"], http_method=ASKED, sync_to_thread=False)
    def ready(self, request: Request, health: NamedDependency[HealthService]) -> Response[dict[str, str]]:
        """200 while at least one provider can be asked and the process is not shutting down."""
        drain: Drain = request.app.state.drain
        if drain.announced:
            return Response({"status": "draining"}, status_code=503)
        if not health.can_serve():
            return Response({"status": HealthStatus.ERROR}, status_code=503)
        return Response({"status": HealthStatus.OK})

    @route("/monitoring/health", http_method=ASKED)
    async def monitoring(
        self, request: Request, health: NamedDependency[HealthService], metrics: NamedDependency[Metrics]
    ) -> Response[dict[str, Any]]:
        """The same in the shape of LLM Service's."""
        report = await health.report()
        code = _code(report)
        body = terminus(report, metrics)
        if not _may_see_details(request, code):
            body = {"status": body["status"]}
        return Response(body, status_code=code)


def _code(report: HealthReport) -> int:
    return 503 if report.status is HealthStatus.ERROR else 200


def _may_see_details(request: Request, status: int) -> bool:
    state, headers = request.app.state, dict(request.scope["headers"])
    listener: Listener = state.listener
    if listener.is_local(headers) if state.public_details is None else state.public_details:
        return True
    door: Door = state.door
    route, request_id = request.scope["path_template"], request.scope["state"]["request_id"]
    return door.opens_details(headers, request.scope.get("client"), route=route, status=status, request_id=request_id)
