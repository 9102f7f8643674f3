"""Providers by their address."""

from functools import partial
from typing import Any, cast

from app.monitoring.health.adapters import ProviderIndicator
from app.monitoring.health.endpoints import Endpoints
from app.monitoring.health.history import History
from app.monitoring.health.watch import ProviderWatch
from tests.support.checks import Fake, service, standing
from tests.support.metrics import made as made_metrics
from tests.support.metrics import value


async def test_providers_with_an_address_are_endpoints() -> None:
    well, gone = Fake("a", endpoint="http://one", version="0.5.1"), Fake("b", endpoint="http://two")
    gone.failure = RuntimeError("refused")
    shared = [Fake("c", endpoint="http://three"), Fake("d", endpoint="http://three"), Fake("e")]
    shared[0].failure = RuntimeError("no")
    made, _ = service(fakes=[well, gone, *shared])

    assert (await made.report()).endpoints == {
        "http://one": {"status": "ok", "version": "0.5.1"},
        "http://two": {"status": "error", "detail": "refused"},
        "http://three": {"status": "error", "detail": "no"},
    }


def test_endpoints_are_told_to_prometheus() -> None:
    metrics = made_metrics()
    history, indicator = (
        History(metrics.health),
        ProviderIndicator(cast("Any", Fake("a", endpoint="http://one")), deadline=1, max_age=1),
    )
    indicator.version = "0.5.1"
    watch = ProviderWatch(indicator, history, told=partial(metrics.providers.stands, "a"), standing=standing("a"))
    metrics.tally.add_source(Endpoints([indicator], {"a": watch}).readings)

    told = {"provider": "a", "endpoint": "http://one"}
    assert value(metrics, "llm_endpoint_up", **told) == 1
    assert value(metrics, "llm_endpoint_info", **told, kind="ollama", version="0.5.1") == 1
    assert value(metrics, "llm_endpoint_connections", provider="a", state="active") == 2
    assert value(metrics, "llm_endpoint_connections", provider="a", state="idle") == 1
    assert value(metrics, "llm_endpoint_connections_limit", provider="a") == 8
    assert value(metrics, "llm_endpoint_queue_depth", provider="a") == 3
    assert value(metrics, "llm_endpoint_queue_rejections_total", provider="a") == 4
