"""The metrics: as text for Prometheus, as JSON in the guides' shapes."""

from typing import Any

from litestar import Controller, HttpMethod, MediaType, Request, Response, route
from litestar.connection import ASGIConnection
from litestar.datastructures import CacheControlHeader
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler
from litestar.params import FromQuery

from app.controllers.policies import Policy
from app.domain.errors import InvalidRequestError, NotFoundError
from app.monitoring.metrics import Metrics
from app.monitoring.summary import Detailed, MetricsSummary, Usage

EXPOSITION = ["/metrics", "/metrics/prometheus", "/monitoring/metrics"]
ASKED = (HttpMethod.GET, HttpMethod.HEAD)
JSON, PROMETHEUS = "json", "prometheus"


async def counted(connection: ASGIConnection, _: BaseRouteHandler) -> None:
    if not connection.app.state.metrics_enabled:
        raise NotFoundError("metrics are off here: metrics.enabled is false")


class MetricsController(Controller):
    tags = ["Operations"]
    opt = {"policy": Policy.METRICS}
    guards = [counted]
    cache_control = CacheControlHeader(no_store=True)

    @route(EXPOSITION, http_method=ASKED, media_type=MediaType.TEXT)
    async def scrape(
        self,
        request: Request,
        metrics: NamedDependency[Metrics],
        summary: NamedDependency[MetricsSummary],
        format: FromQuery[str] = PROMETHEUS,  # noqa: A002 - the guides' name
    ) -> Response[bytes | Detailed]:
        """Every metric, in the Prometheus text format or as OpenMetrics, as `Accept` asks; `format=json` is short."""
        return _as_json(summary.detailed()) if _is_json(format) else await _scraped(request, metrics)

    @route("/monitoring/metrics/detailed", http_method=ASKED, sync_to_thread=False)
    def detailed(self, summary: NamedDependency[MetricsSummary]) -> Detailed:
        """Calls, cache and providers in numbers: milliseconds, and rates from 0 to 1."""
        return summary.detailed()

    @route("/api/usage", http_method=ASKED)
    async def usage(
        self,
        request: Request,
        metrics: NamedDependency[Metrics],
        summary: NamedDependency[MetricsSummary],
        format: FromQuery[str] = JSON,  # noqa: A002 - the guides' name
    ) -> Response[bytes | Usage]:
        """Calls on their way and tokens used, by endpoint and model; `format=prometheus` is `/metrics`."""
        return _as_json(summary.usage()) if _is_json(format) else await _scraped(request, metrics)


def _is_json(asked: str) -> bool:
    if asked not in {JSON, PROMETHEUS}:
        raise InvalidRequestError(f"there is no format {asked[:32]!r}; it is {PROMETHEUS} or {JSON}", param="format")
    return asked == JSON


def _as_json(content: Any) -> Response[Any]:
    return Response(content, media_type=MediaType.JSON)


async def _scraped(request: Request, metrics: Metrics) -> Response[Any]:
    gzip = takes_gzip(request.headers.get("accept-encoding", ""))
    body, content_type = await metrics.scrape(request.headers.get("accept", ""), gzip=gzip)
    headers = {"content-type": content_type, "vary": "Accept, Accept-Encoding"}
    return Response(body, headers=headers | ({"content-encoding": "gzip"} if gzip else {}))


def takes_gzip(accepted: str) -> bool:
    """Whether `Accept-Encoding` names it, and not with a weight of 0 (RFC 9110 §12.5.3)."""
    for each in accepted.lower().split(","):
        coding, _, weight = each.partition(";")
        if coding.strip() == "gzip":
            return not weight.strip().startswith("q=0") or any(digit in "123456789" for digit in weight)
    return False
