"""OpenTelemetry's own variables."""

from typing import Any

import pytest

from app.settings import ConfigError, Loaded, TelemetrySettings, load

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


def loaded(**environ: str) -> Loaded:
    return load(None, environ)


def telemetry(**environ: str) -> TelemetrySettings:
    return loaded(**environ).settings.telemetry


def test_an_endpoint_turns_it_on() -> None:
    assert not telemetry().on
    assert telemetry(OTEL_EXPORTER_OTLP_ENDPOINT="http://c:4318/").on
    assert telemetry(OTEL_EXPORTER_OTLP_ENDPOINT="http://c:4318/").address == "http://c:4318"
    assert telemetry(SIGNALBOX__TELEMETRY__ENABLED="true").address == "http://localhost:4318"


@pytest.mark.parametrize(
    ("name", "value"),
    [("OTEL_SDK_DISABLED", "true"), ("ENABLE_TRACING", "false"), ("SIGNALBOX__TELEMETRY__ENABLED", "false")],
)
def test_whoever_turns_it_off_has_the_last_word(name: str, value: str) -> None:
    assert not telemetry(**{ENDPOINT: "http://c:4318", name: value}).on


def test_switched_on_without_an_endpoint_modelmuxers_variable_only_says_so() -> None:
    made = loaded(ENABLE_TRACING="true")

    assert not made.settings.telemetry.on
    assert [notice for notice in made.notices if "ENABLE_TRACING" in notice]


@pytest.mark.parametrize(
    ("environ", "fields"),
    [
        ({"OTEL_SERVICE_NAME": "desk"}, {"service_name": "desk"}),
        (
            {"OTEL_RESOURCE_ATTRIBUTES": "service.name=x,team=a%20b, zone=z"},
            {"service_name": "x", "resource": {"team": "a b", "zone": "z"}},
        ),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=x", "OTEL_SERVICE_NAME": "y"}, {"service_name": "y"}),
        ({"OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20x"}, {"headers": {"authorization": "Bearer x"}}),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, {"sampler": "always_off"}),
        ({"OTEL_TRACES_SAMPLER_ARG": "0.25"}, {"sample_ratio": 0.25}),
        ({"OTEL_SAMPLING_RATIO": "0.5"}, {"sample_ratio": 0.5}),
        ({"OTEL_SAMPLING_RATIO": "0.5", "OTEL_TRACES_SAMPLER_ARG": "0.25"}, {"sample_ratio": 0.25}),
        ({"OTEL_SEMCONV_STABILITY_OPT_IN": "http,gen_ai_latest_experimental"}, {"semconv": "new"}),
        ({"OTEL_SEMCONV_STABILITY_OPT_IN": "http"}, {"semconv": "both"}),
        ({"OTEL_METRIC_EXPORT_INTERVAL": "5000"}, {"interval_seconds": 5}),
        ({"OTEL_TRACES_EXPORTER": "none"}, {"traces": False}),
        ({"OTEL_METRICS_EXPORTER": "none"}, {"metrics": False}),
        ({"OTEL_PROPAGATORS": "none"}, {"propagate": False}),
        ({"OTEL_SDK_DISABLED": "false"}, {"enabled": None}),
    ],
)
def test_variables_are_read(environ: dict[str, str], fields: dict[str, Any]) -> None:
    made = telemetry(**environ)

    assert {name: getattr(made, name) for name in fields} == fields


@pytest.mark.parametrize(
    "environ",
    [{"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, {"OTEL_TRACES_SAMPLER": "jaeger_remote"}],
)
def test_what_is_not_known_here_is_said_and_does_not_stop_the_start(environ: dict[str, str]) -> None:
    made = loaded(**environ)

    assert [notice for notice in made.notices if next(iter(environ)) in notice]
    assert made.settings.telemetry == TelemetrySettings()


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"OTEL_TRACES_SAMPLER_ARG": "2"}, "telemetry.sample_ratio"),
        ({"OTEL_TRACES_SAMPLER_ARG": "much"}, "telemetry.sample_ratio"),
        ({"OTEL_METRIC_EXPORT_INTERVAL": "soon"}, "OTEL_METRIC_EXPORT_INTERVAL"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "team"}, "OTEL_RESOURCE_ATTRIBUTES"),
        ({ENDPOINT: "collector:4318"}, "telemetry.endpoint"),
        ({ENDPOINT: "http://c:4318", "OTEL_EXPORTER_OTLP_HEADERS": "a=b%0ac"}, "telemetry.headers.a"),
    ],
)
def test_what_cannot_be_is_refused_by_name(environ: dict[str, str], path: str) -> None:
    with pytest.raises(ConfigError) as refused:
        loaded(**environ)

    assert refused.value.path == path


def test_what_opens_the_collector_is_a_secret() -> None:
    settings = loaded(OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20abcdef").settings

    assert "Bearer abcdef" in settings.secrets()
