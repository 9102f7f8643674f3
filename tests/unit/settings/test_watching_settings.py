"""Where metrics and health are served: what may be said of it, and in whose words."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from app.settings import ConfigError, Loaded, load


def loaded(directory: Path, text: str, environ: Mapping[str, str] | None = None) -> Loaded:
    file = directory / "signalbox.yaml"
    file.write_text(text)
    return load(file, environ or {})


@pytest.mark.parametrize(
    ("text", "environ", "path"),
    [
        ("", {"METRICS_PORT": "70000"}, "metrics.port"),
        ("", {"METRICS_PORT": "12434"}, "metrics.port"),
        ("", {"METRICS_ENDPOINT": "metrics"}, "metrics.paths"),
        ("metrics: {paths: /mine}", {"METRICS_ENDPOINT": "/other"}, "metrics.paths"),
        ("metrics: {paths: ['/a?b']}", {}, "metrics.paths"),
        ("metrics: {paths: ['/{name}']}", {}, "metrics.paths"),
        ("metrics: {paths: ['//a']}", {}, "metrics.paths"),
        ("metrics: {paths: [/]}", {}, "metrics.paths"),
        ("", {"PROM_METRICS_PATH": "/v1/chat/completions"}, "metrics.paths"),
        ("", {"HEALTH_ENDPOINT": "/v1/models"}, "health.paths"),
        ("metrics: {paths: [/status]}", {"HEALTH_ENDPOINT": "/status"}, "health.paths"),
    ],
)
def test_what_cannot_be_stops_the_start_and_names_its_path(
    tmp_path: Path, text: str, environ: dict[str, str], path: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text, environ)

    assert caught.value.path == path


def test_what_others_call_monitoring_is_read(tmp_path: Path) -> None:
    environ = {
        "METRICS_PORT": "9464",
        "METRICS_ENDPOINT": "/metrics",
        "PROM_METRICS_PATH": "/status/metrics",
        "HEALTH_ENDPOINT": "/healthz",
        "HEALTH_CHECK_ENABLED": "false",
    }

    settings = loaded(tmp_path, "", environ).settings

    assert settings.metrics.port == 9464
    assert settings.metrics.paths == ("/metrics", "/status/metrics")
    assert (settings.health.paths, settings.health.probe) == (("/healthz",), False)


@pytest.mark.parametrize(
    ("environ", "enabled"),
    [
        ({"MONITORING_ENABLED": "false"}, False),
        ({"PROMETHEUS_ENABLED": "false"}, False),
        ({"ENABLE_METRICS": "false"}, False),
        ({"ENABLE_METRICS": "true", "PROMETHEUS_ENABLED": "false"}, True),
        ({"PROMETHEUS_ENABLED": "true", "MONITORING_ENABLED": "false"}, True),
        ({"ENABLE_METRICS": "false", "SIGNALBOX__METRICS__ENABLED": "true"}, True),
    ],
)
def test_metrics_are_turned_off_by_any_of_their_names(
    tmp_path: Path, environ: dict[str, str], *, enabled: bool
) -> None:
    assert loaded(tmp_path, "", environ).settings.metrics.enabled is enabled


def test_a_path_in_a_variable_joins_those_in_the_file(tmp_path: Path) -> None:
    found = loaded(tmp_path, "metrics: {paths: [/mine]}", {"METRICS_ENDPOINT": "/other"})

    assert found.settings.metrics.paths == ("/mine", "/other")
    assert found.origins["metrics.paths"] == "environment METRICS_ENDPOINT"


@pytest.mark.parametrize(
    ("text", "aside"),
    [
        ("{}", None),
        ("metrics: {port: 9}", ("127.0.0.1", 9)),
        ("metrics: {port: 9, host: 10.0.0.1}", ("10.0.0.1", 9)),
        ("metrics: {port: 9}\nserver: {host: 10.0.0.2}", ("10.0.0.2", 9)),
        ("metrics: {port: 12434, host: 10.0.0.1}", ("10.0.0.1", 12434)),
        ("metrics: {port: 9, enabled: false}", None),
    ],
)
def test_metrics_may_have_an_address_of_their_own(tmp_path: Path, text: str, aside: tuple[str, int] | None) -> None:
    found = loaded(tmp_path, text).settings.aside

    assert (found and (found.host, found.port)) == aside


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("LOG_LEVEL", "log.level: 'odd' is not one of debug, info, warning, error, critical"),
        ("SIGNALBOX__HEALTH__FAIL_ON", "health.fail_on: 'odd' is not one of any, all, critical"),
        ("SIGNALBOX__HEALTH__CHECKS__DB__KIND", "health.checks.db.kind: 'odd' is not one of http, tcp, python"),
    ],
)
def test_a_word_that_cannot_be_is_told_from_those_that_can(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        load(None, {name: "odd"})


def test_the_key_for_metrics_has_a_name_of_its_own() -> None:
    assert load(None, {"SIGNALBOX_METRICS_KEY": "m-1234"}).settings.metrics.key == "m-1234"
