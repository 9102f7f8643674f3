"""What the guides of other routers have their users write for Prometheus works here, with only the host replaced."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import GatewayProcess, ProviderProcess, answer, gateway_process
from tests.support.prometheus import PrometheusProcess, needs_prometheus, prometheus_process, promtool

pytestmark = [pytest.mark.e2e, needs_prometheus]

LLM_RUNNER_ROUTER = """\
# prometheus.yml
scrape_configs:
  - job_name: 'llm-router'
    static_configs:
      - targets: ['llmrouter.dev:3006']
    metrics_path: '/metrics'
    scrape_interval: 15s
"""
LLM_RUNNER_ROUTER_RULES = """\
groups:
  - name: llm-router
    rules:
      - alert: HighErrorRate
        expr: rate(http_requests_total{status=~"5.."}[5m]) > 0.1
        for: 2m
        labels:
          severity: critical
        annotations:
          summary: High error rate detected
          
      - alert: ModelInferenceLatency
        expr: histogram_quantile(0.95, rate(model_inference_duration_seconds_bucket[5m])) > 10
        for: 5m
        labels:
          severity: warning
        annotations:
          summary: Model inference latency is high
"""  # noqa: W293 - as the guide has it
NOMYO_ROUTER = """\
scrape_configs:
  - job_name: 'nomyo-router'
    metrics_path: '/api/usage'
    params:
      format: ['prometheus']
    static_configs:
      - targets: ['nomyo-router:12434']
"""
SOON = "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n"
"""What the guides leave to Prometheus' defaults of a minute."""


@pytest.fixture(scope="module")
def asked(provider: ProviderProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway with a route, and one that fails."""
    provider.script("guides-fail", answer({"error": {"message": "no"}}, status="500 Oops"))
    config = {
        "providers": {"good": {"base_url": provider.base_url("good")}},
        "routes": {"well": ["good:guides-well"], "ill": ["good:guides-fail"]},
        "retry": {"max_retries": 0},
        "cache": {"enabled": False},
    }
    with gateway_process(tmp_path_factory.mktemp("guides"), config) as gateway:
        yield gateway


def ask(gateway: GatewayProcess) -> None:
    assert gateway.chat("well").status_code == 200
    assert gateway.chat("ill").status_code == 502


def scraped(directory: Path, gateway: GatewayProcess, snippet: str, host: str) -> str:
    (directory / "rules.yaml").write_text(LLM_RUNNER_ROUTER_RULES)
    return SOON + "rule_files: [rules.yaml]\n" + snippet.replace(host, f"127.0.0.1:{gateway.port}")


def values(prometheus: PrometheusProcess, expr: str) -> dict[str, float]:
    return {labels.get("status") or labels["model"]: value for labels, value in prometheus.ask(expr)}


def test_llm_runner_routers_snippet_and_rules_load_and_evaluate(asked: GatewayProcess, tmp_path: Path) -> None:
    config = scraped(tmp_path, asked, LLM_RUNNER_ROUTER, "llmrouter.dev:3006")
    with prometheus_process(tmp_path, config) as prometheus:
        ask(asked)
        prometheus.wait_for('http_requests_total{status="502"}')
        ask(asked)
        prometheus.wait_for('rate(http_requests_total{status="502"}[5m]) > 0')

        (target,) = prometheus.targets()
        assert (target["health"], target["lastError"]) == ("up", "")
        assert [(each["name"], each["health"]) for each in prometheus.rules()] == [
            ("HighErrorRate", "ok"),
            ("ModelInferenceLatency", "ok"),
        ]
        assert values(prometheus, 'rate(http_requests_total{status=~"5.."}[5m])').keys() == {"502"}
        latency = values(prometheus, "histogram_quantile(0.95, rate(model_inference_duration_seconds_bucket[5m]))")
        assert latency.keys() == {"well", "ill"}
        assert all(0 < value < 10 for value in latency.values())


def test_nomyos_snippet_loads_and_gets_the_same_metrics(asked: GatewayProcess, tmp_path: Path) -> None:
    config = scraped(tmp_path, asked, NOMYO_ROUTER, "nomyo-router:12434")
    with prometheus_process(tmp_path, config) as prometheus:
        ask(asked)
        prometheus.wait_for('http_requests_total{status="502"}')

        (target,) = prometheus.targets()
        assert (target["health"], target["lastError"]) == ("up", "")
        assert target["scrapeUrl"].endswith("/api/usage?format=prometheus")
        assert prometheus.ask("count(llm_build_info)") == [({}, 1.0)]


@pytest.mark.parametrize("snippet", [LLM_RUNNER_ROUTER, NOMYO_ROUTER], ids=["llm-runner-router", "nomyo-router"])
def test_promtool_finds_the_guides_snippets_whole(tmp_path: Path, snippet: str) -> None:
    file, rules = tmp_path / "prometheus.yml", tmp_path / "rules.yaml"
    file.write_text(snippet)
    rules.write_text(LLM_RUNNER_ROUTER_RULES)

    assert promtool("check", "config", file).returncode == 0
    assert promtool("check", "rules", rules).returncode == 0
