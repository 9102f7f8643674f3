"""Liveness and readiness for machines, the full report for people."""

from typing import Any

import msgspec
from litestar import Controller, HttpMethod, Request, Response, route
from litestar.datastructures import CacheControlHeader
from litestar.di import NamedDependency

from app.controllers.door import Door
from app.controllers.policies import Policy
from app.domain.errors import AuthenticationError
from app.domain.health import HealthStatus
from app.monitoring.health.service import HealthService
from app.services.drain import Drain

ASKED = (HttpMethod.GET, HttpMethod.HEAD)  # some load balancers only want the status


class HealthController(Controller):
    tags = ["Operations"]
    opt = {"policy": Policy.OPEN}
    cache_control = CacheControlHeader(no_store=True)

    @route("/health", http_method=ASKED)
    async def report(self, request: Request, health: NamedDependency[HealthService]) -> Response[dict[str, Any]]:
        """Everything watched; 503 as `health.fail_on` says. Without a key, where keys are set, only the status."""
        report = await health.report()
        body: dict[str, Any] = msgspec.to_builtins(report)
        if not _may_see_details(request):
            body = {"status": body["status"], "timestamp": body["timestamp"]}
        return Response(body, status_code=503 if report.status is HealthStatus.ERROR else 200)

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


def _may_see_details(request: Request) -> bool:
    if request.app.state.details_open:
        return True
    door: Door = request.app.state.door
    if not door.keys.needed:
        return False
    headers = dict(request.scope["headers"])
    try:
        door.keys.authenticate(headers.get(b"authorization", b""), headers.get(b"x-api-key", b""))
    except AuthenticationError:
        return False
    return True
