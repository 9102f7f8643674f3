"""What OpenTelemetry's own variables say, and two of ModelMuxer's."""

from collections.abc import Mapping
from typing import get_args
from urllib.parse import unquote

from app.settings import known
from app.settings.draft import ConfigError, Draft
from app.settings.model import Sampler

ENDPOINT, HEADERS = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS"
SERVICE, RESOURCE = "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"
SAMPLER, RATIO, MUXER_RATIO = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "OTEL_SAMPLING_RATIO"
DISABLED, MUXER_ENABLED = "OTEL_SDK_DISABLED", "ENABLE_TRACING"
STABILITY, PROTOCOL = "OTEL_SEMCONV_STABILITY_OPT_IN", "OTEL_EXPORTER_OTLP_PROTOCOL"
TRACES, METRICS, PROPAGATORS = "OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_PROPAGATORS"
INTERVAL = "OTEL_METRIC_EXPORT_INTERVAL"
VARIABLES = (
    ENDPOINT, HEADERS, SERVICE, RESOURCE, SAMPLER, RATIO, MUXER_RATIO, DISABLED, MUXER_ENABLED, STABILITY, PROTOCOL,
    TRACES, METRICS, PROPAGATORS, INTERVAL,
)  # fmt: skip # a list, not a table

HTTP = "http/protobuf"
LATEST = "gen_ai_latest_experimental"


def read_into(draft: Draft, environ: Mapping[str, str]) -> None:
    for name, setting in _AS_THEY_ARE.items():
        if name in environ:
            _put(draft, name, setting, environ[name])
    for key, value in _pairs(environ, HEADERS):
        draft.put(("telemetry", "headers", key), value, f"environment {HEADERS}")
    _resource(draft, environ)
    _sampler(draft, environ)
    if INTERVAL in environ:
        _put(draft, INTERVAL, "interval_seconds", _milliseconds(environ[INTERVAL]))
    if LATEST in known.commas(environ.get(STABILITY, "")):
        _put(draft, STABILITY, "semconv", "new")
    if environ.get(PROTOCOL, HTTP) != HTTP:
        draft.notice(f"{PROTOCOL}={environ[PROTOCOL]} is not spoken here; telemetry goes out as {HTTP}")
    _switches(draft, environ)


_AS_THEY_ARE = {ENDPOINT: "endpoint", MUXER_RATIO: "sample_ratio", RATIO: "sample_ratio"}


def _put(draft: Draft, name: str, setting: str, value: object) -> None:
    draft.put(("telemetry", setting), value, f"environment {name}")


def _resource(draft: Draft, environ: Mapping[str, str]) -> None:
    for key, value in _pairs(environ, RESOURCE):
        path = ("telemetry", "service_name") if key == "service.name" else ("telemetry", "resource", key)
        draft.put(path, value, f"environment {RESOURCE}")
    if SERVICE in environ:
        _put(draft, SERVICE, "service_name", environ[SERVICE])


def _sampler(draft: Draft, environ: Mapping[str, str]) -> None:
    if (sampler := environ.get(SAMPLER)) in get_args(Sampler):
        _put(draft, SAMPLER, "sampler", sampler)
    elif sampler is not None:
        draft.notice(f"{SAMPLER}={sampler} is not known here; telemetry.sampler counts")


def _switches(draft: Draft, environ: Mapping[str, str]) -> None:
    """Only off switches: what turns it on is an endpoint."""
    off = []
    if environ.get(MUXER_ENABLED, "true").lower() in {"false", "0", "no", "off"}:
        off.append((MUXER_ENABLED, "enabled"))
    elif MUXER_ENABLED in environ and ENDPOINT not in environ:
        draft.notice(f"{MUXER_ENABLED} does nothing without {ENDPOINT} or telemetry.endpoint")
    if environ.get(DISABLED, "").lower() == "true":
        off.append((DISABLED, "enabled"))
    parts = ((TRACES, "traces"), (METRICS, "metrics"), (PROPAGATORS, "propagate"))
    off += [(name, setting) for name, setting in parts if environ.get(name) == "none"]
    for name, setting in off:
        _put(draft, name, setting, value=False)


def _pairs(environ: Mapping[str, str], name: str) -> list[tuple[str, str]]:
    """`key=value,…`, both percent-encoded as W3C Baggage has them."""
    found = []
    for each in known.commas(environ.get(name, "")):
        key, sign, value = each.partition("=")
        if not (sign and key.strip()):
            raise ConfigError(name, "is written key=value,key=value")
        found.append((unquote(key.strip()), unquote(value.strip())))
    return found


def _milliseconds(text: str) -> float:
    try:
        return float(text) / 1000
    except ValueError:
        raise ConfigError(INTERVAL, f"{text!r} is not a number") from None
