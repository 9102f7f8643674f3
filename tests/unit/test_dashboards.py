"""The shipped dashboards: what the code makes, whole, and asking for metrics there are."""

import re
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.domain.errors import Failure
from app.domain.passage import PHASES
from tests.support.prometheus import needs_prometheus, promtool
from tests.support.promql import (
    DASHBOARDS,
    LABEL_VALUES,
    PROMETHEUS_OWN,
    ROOT,
    TARGET_LABELS,
    Question,
    dashboards,
    documented,
    family_of,
    labels_of,
    matched,
    metrics_of,
    of_dashboards,
    panels,
    questions,
    recorded,
    rules,
)

PROVISIONING = ROOT / "docker" / "grafana" / "provisioning"
COMPOSE = ROOT / "docker" / "compose.yaml"
NAMES = ["signalbox-cache.json", "signalbox-providers.json", "signalbox-service.json", "signalbox-system.json"]


def where(question: Question) -> str:
    return question.where


@pytest.fixture(params=NAMES)
def dashboard(request: pytest.FixtureRequest) -> dict[str, Any]:
    return dashboards()[request.param]


def test_what_is_committed_is_what_the_code_makes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "scripts.dashboards", str(tmp_path)], cwd=ROOT, check=True, timeout=120)

    made = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    assert sorted(made) == NAMES
    assert made == {file.name: file.read_bytes() for file in DASHBOARDS.iterdir()}, "run `make dashboards`"


def test_a_dashboard_has_a_uid_of_its_own_and_leads_to_the_others(dashboard: dict[str, Any]) -> None:
    assert f"{dashboard['uid']}.json" in NAMES
    assert dashboard["title"].startswith("Signalbox / ")
    assert dashboard["description"]
    assert dashboard["tags"] == ["signalbox"]
    (link,) = dashboard["links"]
    assert (link["type"], link["tags"], link["includeVars"], link["keepTime"]) == (
        "dashboards",
        ["signalbox"],
        True,
        True,
    )


def test_a_dashboard_works_with_any_source_and_lets_choose_among_gateways(dashboard: dict[str, Any]) -> None:
    variables = {each["name"]: each for each in dashboard["templating"]["list"]}

    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    assert {"job", "instance"} < set(variables)
    for name, variable in variables.items():
        asked = LABEL_VALUES(variable["query"])
        assert name == "datasource" or (asked is not None and asked[2] == name)
    sources = re.findall(r'"uid": "([^"]+)"', msgspec.json.format(msgspec.json.encode(dashboard), indent=1).decode())
    assert set(sources) == {"${datasource}", dashboard["uid"]}


def test_a_panel_says_what_it_shows_and_in_which_unit(dashboard: dict[str, Any]) -> None:
    shown = list(panels(dashboard))
    titles = Counter((panel["type"], panel["title"]) for panel in shown)

    assert shown
    for panel in shown:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["targets"], panel["title"]
        assert [each["refId"] for each in panel["targets"]] == [*"ABCDEFGH"][: len(panel["targets"])]
    assert [title for title, times in titles.items() if times > 1] == []


def test_panels_have_an_id_and_a_place_of_their_own(dashboard: dict[str, Any]) -> None:
    ids = [panel["id"] for panel in dashboard["panels"]]
    cells = Counter(
        (x, y)
        for place in (panel["gridPos"] for panel in dashboard["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    )
    starts = [panel["gridPos"]["y"] for panel in dashboard["panels"]]

    assert len(ids) == len(set(ids))
    assert set(cells.values()) == {1}
    assert max(x for x, _ in cells) == 23
    assert all(before <= after for before, after in pairwise(starts))


def test_queries_fit_the_resolution_and_the_choice_of_gateways(dashboard: dict[str, Any]) -> None:
    for panel in panels(dashboard):
        for target in panel["targets"]:
            expr = target["expr"]
            windows = re.findall(r"(\w+)\(([\w:]+)\{[^}]*\}\[([^]]+)\]", expr)
            assert all(window == "$__rate_interval" for function, _, window in windows if function == "rate"), expr
            selectors = re.findall(r"\b(\w+)\{([^}]*)\}", expr)
            for name, matchers in selectors:
                assert name == "ALERTS" or matchers.startswith('job=~"$job",instance=~"$instance"'), expr


@pytest.mark.parametrize(
    "histogram", ["http_request_duration_seconds", "llm_provider_latency_seconds", "llm_time_to_first_chunk_seconds"]
)
def test_latency_is_shown_as_p50_p95_and_p99(histogram: str) -> None:
    asked = [each.expr for each in of_dashboards() if f"{histogram}_bucket" in each.expr]

    shares = {share for expr in asked for share in re.findall(r"histogram_quantile\(([\d.]+),", expr)}
    assert shares >= {"0.5", "0.95", "0.99"}


@needs_prometheus
def test_promtool_can_parse_every_query(tmp_path: Path) -> None:
    asked = of_dashboards()
    made = [{"record": f"query:{number}", "expr": each.expr} for number, each in enumerate(asked)]
    file = tmp_path / "rules.yaml"
    file.write_bytes(msgspec.yaml.encode({"groups": [{"name": "queries", "rules": made}]}))

    checked = promtool("check", "rules", file)

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(asked)} rules found" in checked.stdout


@pytest.mark.parametrize("question", questions(), ids=where)
def test_what_rules_and_dashboards_ask_for_is_documented(question: Question) -> None:
    known = documented()
    asked = metrics_of(question.expr) - PROMETHEUS_OWN - recorded()
    families = {family_of(name) if family_of(name) in known else name for name in asked}

    assert families - set(known) == set()
    if asked and not metrics_of(question.expr) & (PROMETHEUS_OWN | recorded()):
        labels = TARGET_LABELS.union(*(known[name] for name in families))
        assert labels_of(question.expr) - labels == set()


def test_values_that_are_matched_are_values_there_are() -> None:
    words = {*map(str, Failure), "complete"}
    closed = {
        "error_type": words,
        "ending": words,
        "phase": set(PHASES),
        "result": {"accepted", "missing", "refused", "sent", "dropped"},
        "state": {"active", "idle"},
    }

    named = {each for question in questions() for each in matched(question.expr) if each[0] in closed}

    assert len(named) > 5
    assert {(label, value) for label, value in named if value not in closed[label]} == set()


def test_every_documented_metric_is_shown_or_watched() -> None:
    asked = {family_of(name) for question in questions() for name in metrics_of(question.expr)}
    asked |= {name for question in questions() for name in metrics_of(question.expr)}

    assert set(documented()) - asked == set()


def test_recorded_series_are_named_after_us_and_all_read() -> None:
    read = {name for rule in rules() for name in metrics_of(rule.expr)}

    assert all(name.startswith("signalbox:") for name in recorded())
    assert recorded() <= read


def test_grafana_is_provisioned_with_the_servers_and_the_dashboards_of_compose() -> None:
    sources = msgspec.yaml.decode((PROVISIONING / "datasources" / "signalbox.yaml").read_bytes())["datasources"]
    (folder,) = msgspec.yaml.decode((PROVISIONING / "dashboards" / "signalbox.yaml").read_bytes())["providers"]
    services = msgspec.yaml.decode(COMPOSE.read_bytes())["services"]
    mounts = dict(each.split(":")[:2] for each in services["grafana"]["volumes"])

    assert {each["type"]: each["url"] for each in sources} == {
        "prometheus": "http://prometheus:9090",
        "alertmanager": "http://alertmanager:9093",
    }
    assert all(each["url"].split("/")[2].split(":")[0] in services for each in sources)
    assert [each["isDefault"] for each in sources if each["type"] == "prometheus"] == [True]
    assert mounts["./grafana/provisioning"] == "/etc/grafana/provisioning"
    assert folder["options"]["path"] == mounts["./grafana/dashboards"]
