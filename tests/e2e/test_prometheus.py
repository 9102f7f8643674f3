"""A real Prometheus with the shipped configuration in front of a real gateway: it counts what was done, exactly."""

import math
import re
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.support.processes import (
    GatewayProcess,
    ProviderProcess,
    free_port,
    gateway_process,
    redis_process,
    redis_server,
)
from tests.support.prometheus import (
    PrometheusProcess,
    alertmanager_process,
    needs_alertmanager,
    needs_prometheus,
    prometheus_process,
    promtool,
)
from tests.support.promql import PROMETHEUS, ROOT, documented, family_of, operands, questions, rules
from tests.support.provider_faults import eventually
from tests.support.story import KEY, ROUTES, Story

pytestmark = [
    pytest.mark.e2e,
    needs_prometheus,
    needs_alertmanager,
    pytest.mark.skipif(redis_server() is None, reason="redis-server is not installed"),
]

METRICS_KEY = "m-story-0123456789"
UNMOVED = {"cpu_threshold": 100, "memory_threshold": 100, "disk_threshold": 100, "event_loop_threshold_ms": 100_000}
NOT_OURS = 'route!~"/metrics|/health.*"'
"""What this test and Prometheus ask beside the story."""

FORCED_BY_GUIDES = {
    'llm_cache_keys_total non-counter metrics should not have "_total" suffix',
    'http_request_duration_seconds non-summary metrics should not have "quantile" label',
    'model_inference_duration_seconds non-summary metrics should not have "quantile" label',
}


class Scene(NamedTuple):
    gateway: GatewayProcess
    prometheus: PrometheusProcess
    alertmanager: str
    story: Story


@pytest.fixture(scope="module")
def scene(provider: ProviderProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Two rounds of the story, each seen by a scrape, so that every rate has something to be made of."""
    directory = tmp_path_factory.mktemp("prometheus")
    with (
        redis_process(directory) as (_, redis_url),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as statsd,
        gateway_process(directory / "gateway", _config(provider, redis_url, statsd)) as gateway,
        alertmanager_process(directory, ROOT / "docker" / "alertmanager" / "alertmanager.yml") as alertmanager,
        prometheus_process(directory, _shipped(directory, gateway, alertmanager)) as prometheus,
        closing(Story(gateway, provider)) as story,
    ):
        for _ in range(2):
            prometheus.wait_for_scrapes()
            story.tell()
        prometheus.wait_for_scrapes(3)
        yield Scene(gateway, prometheus, alertmanager, story)


def _config(provider: ProviderProcess, redis_url: str, statsd: socket.socket) -> dict[str, object]:
    """Everything that has metrics of its own is on."""
    statsd.bind(("127.0.0.1", 0))
    urls = {name: provider.base_url(name) for name in ("good", "bad")} | {"gone": f"http://127.0.0.1:{free_port()}/v1"}
    timeouts = {"connect": 1.0, "first_byte": 1.0, "idle": 1.0}
    return {
        "providers": {name: {"base_url": url, "timeouts": timeouts} for name, url in urls.items()},
        "routes": ROUTES,
        "keys": {"story": {"key": KEY}},
        "metrics": {"key": METRICS_KEY},
        "cache": {"url": redis_url},
        "retry": {"max_retries": 1, "backoff_seconds": 0.01, "budget_per_second": 1000},
        "breaker": {"failures": 0},
        "health": UNMOVED,
        "statsd": {"address": f"127.0.0.1:{statsd.getsockname()[1]}", "interval_seconds": 1},
    }


def _shipped(directory: Path, gateway: GatewayProcess, alertmanager: str) -> str:
    """`docker/prometheus/prometheus.yml`, with our addresses and less patience."""
    key = directory / "metrics_key"
    key.write_text(METRICS_KEY)
    (directory / "rules").symlink_to(PROMETHEUS / "rules")
    config = (PROMETHEUS / "prometheus.yml").read_text()
    for shipped, ours in {
        "gateway:12434": f"127.0.0.1:{gateway.port}",
        "alertmanager:9093": alertmanager.removeprefix("http://"),
        "/run/secrets/metrics_key": str(key),
        "_interval: 15s": "_interval: 1s",
        "scrape_timeout: 5s": "scrape_timeout: 1s",
    }.items():
        assert shipped in config
        config = config.replace(shipped, ours)
    return config


def test_prometheus_has_counted_what_was_done_to_the_last_request(scene: Scene) -> None:
    expected: dict[str, dict[tuple[str, ...], float]] = {}
    labels: dict[str, tuple[str, ...]] = {}
    for (metric, named), value in scene.story.expected.items():
        labels[metric] = tuple(name for name, _ in named)
        expected.setdefault(metric, {})[tuple(each for _, each in named)] = value

    counted = {
        metric: scene.prometheus.values(metric, *labels[metric], where=NOT_OURS if metric.startswith("http_") else "")
        for metric in expected
    }

    assert len(expected) > 20
    for metric, found in expected.items():
        assert counted[metric] == {key: value for key, value in found.items() if value}, metric


@pytest.mark.parametrize(
    ("histogram", "counter", "by"),
    [
        ("http_request_duration_seconds", "http_requests_total", ["method", "route"]),
        ("http_request_size_bytes", "http_requests_total", ["route"]),
        ("llm_request_duration_seconds", "llm_requests_total", ["provider"]),
        ("llm_provider_latency_seconds", "llm_provider_requests_total", ["provider"]),
        ("model_inference_duration_seconds", "model_inference_total", ["model"]),
    ],
)
def test_a_histogram_has_as_many_observations_as_there_were_events(
    scene: Scene, histogram: str, counter: str, by: list[str]
) -> None:
    where = NOT_OURS if counter.startswith("http_") else ""

    assert scene.prometheus.values(f"{histogram}_count", *by, where=where) == scene.prometheus.values(
        counter, *by, where=where
    )
    infinite = f'{where}{"," if where else ""}le="+Inf"'
    assert scene.prometheus.values(f"{histogram}_bucket", *by, where=infinite) == scene.prometheus.values(
        counter, *by, where=where
    )


def test_every_expression_of_rules_and_dashboards_has_data(scene: Scene) -> None:
    silent, senseless = [], []
    for question in questions():
        for operand in operands(question.expr):
            found = scene.prometheus.ask(operand)
            if not found:
                silent.append((question.where, operand))
            elif all(math.isnan(value) for _, value in found):
                senseless.append((question.where, operand))

    assert silent == []
    assert senseless == []


def test_every_rule_is_evaluated_without_a_fault(scene: Scene) -> None:
    found = scene.prometheus.rules()

    assert len(found) == len(rules())
    assert [(each["name"], each["lastError"]) for each in found if each["health"] != "ok"] == []


def test_the_target_is_scraped_with_its_key_and_without_a_fault(scene: Scene) -> None:
    (target,) = scene.prometheus.targets()

    assert (target["health"], target["lastError"], target["labels"]["job"]) == ("up", "", "signalbox")


def test_what_the_gateway_tells_is_what_is_documented(scene: Scene) -> None:
    told = {labels["__name__"] for labels, _ in scene.prometheus.ask('{job="signalbox"}')}
    told -= {name for name in told if name.startswith(("scrape_", "signalbox:", "ALERTS")) or name == "up"}
    families = {family_of(name) if family_of(name) in documented() else name for name in told}

    ours = re.compile(r"(llm|http|model|system)_").match
    assert {name for name in families if ours(name)} == {name for name in documented() if ours(name)}


def test_an_alert_goes_all_the_way_to_alertmanager(scene: Scene) -> None:
    scene.prometheus.wait_for('ALERTS{alertname="UpstreamAuth",alertstate="firing"}')

    def told() -> list[dict[str, str]]:
        alerts = httpx.get(f"{scene.alertmanager}/api/v2/alerts", trust_env=False).json()
        return [each["labels"] for each in alerts if each["labels"]["alertname"] == "UpstreamAuth"]

    eventually(lambda: len(told()) == 2, "Alertmanager has the alerts of both providers that refused our key")
    assert {each["provider"] for each in told()} == {"good", "bad"}


def test_promtool_complains_only_of_names_the_guides_force(scene: Scene) -> None:
    text = scene.gateway.client.get("/metrics", headers={"authorization": f"Bearer {METRICS_KEY}"}).text

    checked = promtool("check", "metrics", stdin=text)

    assert set(checked.stderr.splitlines() + checked.stdout.splitlines()) == FORCED_BY_GUIDES
