"""The shipped rules: valid, proven by promtool's own tests, each with a runbook, and of metrics there are."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.domain.errors import OF_NO_PROVIDER
from tests.support.prometheus import amtool, needs_alertmanager, needs_prometheus, promtool
from tests.support.promql import PROMETHEUS, ROOT, Question, Rule, alerts, matched, operands, rules, shares_of_errors

RUNBOOKS = ROOT / "docs" / "runbooks"
SEVERITIES = {"critical", "warning", "info"}
ALERTMANAGER = ROOT / "docker" / "alertmanager" / "alertmanager.yml"


def cases() -> list[dict[str, Any]]:
    files = sorted((PROMETHEUS / "tests").glob("*.yaml"))
    return [test for file in files for test in msgspec.yaml.decode(file.read_bytes())["tests"]]


def anchors(document: Path) -> list[str]:
    return re.findall(r"^## (.+)$", document.read_text(), re.MULTILINE)


def by_alert(rule: Rule) -> str:
    return rule.alert


@needs_prometheus
def test_promtool_finds_the_configuration_whole(tmp_path: Path) -> None:
    key = tmp_path / "metrics_key"
    key.touch()
    text = (PROMETHEUS / "prometheus.yml").read_text()
    assert text.count("/run/secrets/metrics_key") == 1
    (tmp_path / "prometheus.yml").write_text(text.replace("/run/secrets/metrics_key", str(key)))
    (tmp_path / "rules").symlink_to(PROMETHEUS / "rules")

    checked = promtool("check", "config", "--lint-fatal", tmp_path / "prometheus.yml")

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(list((PROMETHEUS / 'rules').iterdir()))} rule files found" in checked.stdout


@needs_prometheus
def test_promtool_finds_no_fault_with_the_rules() -> None:
    checked = promtool("check", "rules", "--lint-fatal", *sorted((PROMETHEUS / "rules").glob("*.yaml")))

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert sum(map(int, re.findall(r"(\d+) rules found", checked.stdout))) == len(rules())


@needs_prometheus
@pytest.mark.parametrize("file", sorted((PROMETHEUS / "tests").glob("*.yaml")), ids=lambda file: file.stem)
def test_alerts_fire_and_are_silent_where_they_should(file: Path) -> None:
    tested = promtool("test", "rules", file)

    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_the_tests_of_a_rule_file_bear_its_name() -> None:
    tested = {file.name for file in (PROMETHEUS / "tests").iterdir()}

    assert tested == {file.name for file in (PROMETHEUS / "rules").iterdir()} - {"recording.yaml"}


def test_every_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    fires, silent = Counter[str](), Counter[str]()
    for test in cases():
        asked = test["alert_rule_test"]
        firing = {each["alertname"] for each in asked if each["exp_alerts"]}
        fires.update(firing)
        silent.update({each["alertname"] for each in asked} - firing)

    assert set(fires) == set(silent) == {rule.alert for rule in alerts()}


def test_the_names_of_alerts_are_unique() -> None:
    names = Counter(rule.alert for rule in alerts())

    assert names
    assert [name for name, times in names.items() if times > 1] == []


@pytest.mark.parametrize("rule", alerts(), ids=by_alert)
def test_an_alert_says_how_bad_it_is_what_happened_and_what_to_do(rule: Rule) -> None:
    labels, annotations = rule.fields["labels"], rule.fields["annotations"]

    assert labels["severity"] in SEVERITIES
    assert (labels["service"], labels["area"]) == ("signalbox", rule.area)
    assert set(labels) <= {"severity", "service", "area", "source"}
    assert set(annotations) == {"summary", "description", "runbook_url"}
    assert annotations["runbook_url"] == f"docs/runbooks/{rule.area}.md#{rule.alert.lower()}"


def test_every_alert_has_its_section_in_a_runbook_and_every_section_its_alert() -> None:
    written = {document.stem: anchors(document) for document in sorted(RUNBOOKS.glob("*.md"))}

    stated: dict[str, list[str]] = {}
    for rule in alerts():
        stated.setdefault(rule.area, []).append(rule.alert)

    assert {area: sorted(names) for area, names in written.items()} == {a: sorted(n) for a, n in stated.items()}


def test_links_between_runbooks_lead_to_their_sections() -> None:
    broken = []
    for document in sorted(RUNBOOKS.glob("*.md")):
        for file, anchor in re.findall(r"\]\(([\w.]*)#(\w+)\)", document.read_text()):
            there = document.parent / (file or document.name)
            if anchor not in [each.lower() for each in anchors(there)]:
                broken.append((document.name, file, anchor))

    assert broken == []


def test_the_rules_of_llm_runner_router_are_its_own_word_for_word() -> None:
    literal = {
        rule.alert: rule.fields for rule in alerts() if rule.fields["labels"].get("source") == "llm-runner-router"
    }

    assert {name: (each["expr"], each["for"], each["labels"]["severity"]) for name, each in literal.items()} == {
        "HighErrorRate": ('rate(http_requests_total{status=~"5.."}[5m]) > 0.1', "2m", "critical"),
        "ModelInferenceLatency": (
            "histogram_quantile(0.95, rate(model_inference_duration_seconds_bucket[5m])) > 10",
            "5m",
            "warning",
        ),
    }


@pytest.mark.parametrize("question", shares_of_errors(), ids=lambda question: question.where)
def test_rates_of_errors_leave_out_what_tells_nothing_against_a_provider(question: Question) -> None:
    left_out = {value for label, value in matched(question.expr) if label == "error_type"}

    assert re.findall(r'error_type([=!~]+)"', question.expr) == ["!~"]
    assert left_out == OF_NO_PROVIDER


def test_those_rates_are_found() -> None:
    assert len(shares_of_errors()) == 5


@needs_alertmanager
def test_amtool_finds_the_configuration_of_alertmanager_whole() -> None:
    checked = amtool("check-config", ALERTMANAGER)

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_alertmanager_groups_repeats_and_inhibits_as_promised() -> None:
    config = msgspec.yaml.decode(ALERTMANAGER.read_bytes())

    assert config["route"]["group_by"] == ["alertname", "service"]
    assert config["route"]["repeat_interval"] == "1h"
    (first, *_) = config["inhibit_rules"]
    assert first["source_matchers"] == ["severity = critical"]
    assert first["target_matchers"] == ['severity =~ "warning|info"']


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("up == 0", ["up"]),
        ("a / b > 0.1 and c > 1", ["a / b", "c"]),
        ("x > 3 * avg_over_time(x[1d])", ["x", "3 * avg_over_time(x[1d])"]),
        ('absent(up{job="a"})', ['up{job="a"}']),
        ("(a or 0 * b) / b", ["(a or 0 * b) / b"]),
        ("a < 0.1 * a offset 1d", ["a", "0.1 * a"]),
        ('errors{error_type="internal"} > 0', ['errors{error_type=~".+"}']),
        ('label_replace(a unless on (job) b, "f", "b", "", "")', ["a", "b"]),
    ],
)
def test_what_a_condition_compares_is_found(expr: str, expected: list[str]) -> None:
    assert operands(expr) == expected
