"""The shipped configuration in a real Alertmanager: what is critical silences what is only worth a warning."""

from collections.abc import Iterator

import httpx
import pytest

from tests.support.prometheus import alertmanager_process, needs_alertmanager
from tests.support.promql import ROOT, alerts
from tests.support.provider_faults import eventually

pytestmark = [pytest.mark.e2e, needs_alertmanager]

FIRING = {
    "ProviderDown": {"instance": "a:1", "provider": "ill"},
    "ProviderHighErrorRate": {"instance": "a:1", "provider": "ill"},
    "HighConnectionCount": {"instance": "a:1", "provider": "well"},
    "RedisDown": {"instance": "a:1"},
    "CachePerformance": {"instance": "a:1"},
    "HighCPU": {"instance": "a:1"},
    "ServiceDown": {"instance": "b:1"},
    "HighMemory": {"instance": "b:1"},
    "UpstreamAuth": {"instance": "b:1", "provider": "ill"},
}
"""Of two gateways; one of them has a dead provider and a dead Redis, the other is down."""


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    config = ROOT / "docker" / "alertmanager" / "alertmanager.yml"
    with alertmanager_process(tmp_path_factory.mktemp("alertmanager"), config) as url:
        yield url


def test_a_warning_is_inhibited_by_what_is_critical_about_the_same_thing(alertmanager: str) -> None:
    shipped = {rule.alert: rule.fields["labels"] for rule in alerts()}
    said = [{"labels": {"alertname": name} | shipped[name] | labels} for name, labels in FIRING.items()]
    httpx.post(f"{alertmanager}/api/v2/alerts", json=said, trust_env=False).raise_for_status()

    def inhibited() -> set[str]:
        found = httpx.get(f"{alertmanager}/api/v2/alerts", trust_env=False).json()
        assert {each["labels"]["alertname"] for each in found} <= FIRING.keys()
        return {each["labels"]["alertname"] for each in found if each["status"]["inhibitedBy"]}

    eventually(lambda: len(inhibited()) >= 3, "alerts are inhibited")
    assert inhibited() == {"ProviderHighErrorRate", "CachePerformance", "HighMemory"}


def test_alerts_of_a_kind_come_together(alertmanager: str) -> None:
    labels = [{"alertname": "ProviderDown", "service": "signalbox", "provider": each} for each in ("x", "y", "z")]
    body = [{"labels": each} for each in labels]
    httpx.post(f"{alertmanager}/api/v2/alerts", json=body, trust_env=False).raise_for_status()

    def together() -> list[int]:
        groups = httpx.get(f"{alertmanager}/api/v2/alerts/groups", trust_env=False).json()
        wanted = {"alertname": "ProviderDown", "service": "signalbox"}
        return [len(group["alerts"]) for group in groups if group["labels"] == wanted]

    eventually(lambda: together() and together()[0] >= 3, "three alerts of one kind are one group")
