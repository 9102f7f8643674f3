"""GET /metrics for Prometheus."""

from litestar import Controller, Request, Response, get
from litestar.di import NamedDependency

from app.controllers.policies import Policy
from app.monitoring.metrics import Metrics


class MetricsController(Controller):
    path = "/metrics"
    tags = ["Operations"]
    opt = {"policy": Policy.METRICS}

    @get(operation_id="metrics", media_type="text/plain")
    async def scrape(self, request: Request, metrics: NamedDependency[Metrics]) -> Response[bytes]:
        """Every metric, in the Prometheus text format or as OpenMetrics, as `Accept` asks."""
        body, content_type = await metrics.scrape(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})
