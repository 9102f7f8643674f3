"""What types cannot say: whether the settings make sense together."""

import re
import time
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from app.settings.draft import ConfigError, Draft
from app.settings.model import (
    CacheSettings,
    CheckSettings,
    ProviderSettings,
    ServerSettings,
    Settings,
    StatsdSettings,
    TelemetrySettings,
)
from app.settings.redis import redis_address
from app.settings.tls import tls_context, validity_of

SMALLEST_LOG_BYTES = 64 * 1024
SHORTEST_HMAC_KEY = 16
NEEDS_OTEL = "needs two more packages: pip install 'signalbox[otel]', or make otel; or set telemetry.enabled: false"
NO_KEY = "must be visible ASCII characters without spaces"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

LABELS_OF_OURS = frozenset({"none", "other"})
"""What a metric's `provider` says before one was chosen, and beyond `metrics.max_series`."""

_provider_name = re.compile(r"[A-Za-z0-9_-]+").fullmatch
_path = re.compile(r"(?:/[A-Za-z0-9._~-]+)+/?").fullmatch


def check(settings: Settings, draft: Draft) -> None:
    """Raises ConfigError for the first thing that cannot work."""
    for name, provider in settings.providers.items():
        _check_provider(name, provider, draft)
    if len(settings.providers) > 1 and any(each.kind == "demo" for each in settings.providers.values()):
        raise ConfigError("providers", "the demo never answers beside real providers")
    for model, targets in settings.routes.items():
        _check_route(model, targets, settings, draft)
    if 0 < settings.log.file_max_bytes < SMALLEST_LOG_BYTES:
        message = f"is bytes, and at least {SMALLEST_LOG_BYTES}; or 0, for a file that is never full"
        raise ConfigError("log.file_max_bytes", message, origin=draft.origin_of(("log", "file_max_bytes")))
    for name, row in settings.health.checks.items():
        _check_check(name, row, draft)
    _check_keys(settings, draft)
    if settings.server.insecure_allow_unauthenticated:
        path = ("server", "insecure_allow_unauthenticated")
        raise ConfigError(".".join(path), "is a flag of the command line only", origin=draft.origin_of(path))
    _check_tls(settings.server, draft)
    _check_telemetry(settings.telemetry, draft)
    _check_watching(settings, draft)
    _check_cache(settings.cache, draft)
    _check_statsd(settings.statsd, draft)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on `host`."""
    if host in LOOPBACK:
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def local_address(server: ServerSettings) -> str:
    """Where this machine reaches what listens as `server` says."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(server.host, server.host)  # noqa: S104 - not bound, asked
    scheme = "https" if server.tls_certificate else "http"
    return f"{scheme}://[{host}]:{server.port}" if ":" in host else f"{scheme}://{host}:{server.port}"


def _check_tls(server: ServerSettings, draft: Draft) -> None:
    try:
        if why := validity_of(tls_context(server), server).fault(time.time()):
            draft.notice(f"server.tls_certificate: {server.tls_certificate} {why}: callers refuse it")
    except ConfigError as error:
        path = tuple(error.path.split("."))
        raise ConfigError(error.path, error.message, origin=draft.origin_of(path)) from None


def _check_watching(settings: Settings, draft: Draft) -> None:
    for section, paths in (("metrics", settings.metrics.paths), ("health", settings.health.paths)):
        for path in paths:
            if not _path(path) or path.startswith("/v1/"):
                message = f"{path!r} must be a path such as /status/{section}, and not one below /v1"
                raise ConfigError(f"{section}.paths", message, origin=draft.origin_of((section, "paths")))
    if both := sorted({*settings.metrics.paths} & {*settings.health.paths}):
        raise ConfigError(
            "health.paths", f"{both[0]} is one of metrics.paths", origin=draft.origin_of(("health", "paths"))
        )
    aside, server = settings.aside, settings.server
    if aside is not None and aside.port and (aside.host, aside.port) == (server.host, server.port):
        message = "is server.port, where metrics are served anyway"
        raise ConfigError("metrics.port", message, origin=draft.origin_of(("metrics", "port")))


def datagram_address(address: str) -> str | tuple[str, int]:
    """The path of `unix:///path`, or host and port of `host:port`; raises ValueError."""
    if address.startswith("unix://"):
        path = address.removeprefix("unix://")
        if not path.startswith("/"):
            raise ValueError("the path is not absolute")
        return path
    parts = urlsplit(f"//{address}")
    host, port = parts.hostname, parts.port
    if not host or not port or parts.netloc != address or parts.username is not None:
        raise ValueError("host or port is missing")
    return host, port


def _check_statsd(statsd: StatsdSettings, draft: Draft) -> None:
    try:
        datagram_address(statsd.address or "localhost:8125")
    except ValueError:
        message = "must be host:port or unix:///path"
        raise ConfigError("statsd.address", message, origin=draft.origin_of(("statsd", "address"))) from None
    if not re.fullmatch(r"[A-Za-z0-9_.-]*", statsd.prefix):
        raise ConfigError(
            "statsd.prefix", "is letters, digits, _, - and .", origin=draft.origin_of(("statsd", "prefix"))
        )
    for tag in statsd.tags:
        if not tag or re.search(r"[|,#@\s\x00-\x1f\x7f]", tag):
            message = f"{tag!r} must be written name:value, without spaces and | , # @"
            raise ConfigError("statsd.tags", message, origin=draft.origin_of(("statsd", "tags")))


def _check_cache(cache: CacheSettings, draft: Draft) -> None:
    if cache.backend == "redis" and not cache.url:
        raise ConfigError("cache.url", "is needed for the Redis backend, as in redis://localhost:6379/0")
    if cache.url:
        try:
            redis_address(cache.url)
        except ValueError as error:
            raise ConfigError("cache.url", str(error), origin=draft.origin_of(("cache", "url"))) from None
    if cache.ca_file and not Path(cache.ca_file).is_file():
        raise ConfigError("cache.ca_file", "there is no such file", origin=draft.origin_of(("cache", "ca_file")))
    if cache.hmac_key and len(cache.hmac_key) < SHORTEST_HMAC_KEY:
        message = f"must have at least {SHORTEST_HMAC_KEY} characters"
        raise ConfigError("cache.hmac_key", message, origin=draft.origin_of(("cache", "hmac_key")))


def _split(url: str) -> SplitResult:
    """Its parts; none where it cannot be an address, be it for half an IPv6 address or a port that is no number."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return SplitResult("", "", "", "", "")
    return parts


def _check_provider(name: str, provider: ProviderSettings, draft: Draft) -> None:
    path = f"providers.{name}"
    if not _provider_name(name):
        raise ConfigError(path, "a provider's name is letters, digits, - and _")
    if name in LABELS_OF_OURS:
        raise ConfigError(path, f"{name} is no provider's name: metrics say it where there is none, or one too many")
    if provider.kind == "demo":
        return
    url = _split(provider.base_url)
    if not provider.base_url:
        raise ConfigError(f"{path}.base_url", "is missing", origin=draft.origin_of(("providers", name)))
    if url.scheme not in {"http", "https"} or not url.hostname or url.query or url.fragment:
        raise ConfigError(f"{path}.base_url", "must be an http:// or https:// address without a query")
    _check_way(path, provider)
    if provider.ca_file and not Path(provider.ca_file).is_file():
        raise ConfigError(f"{path}.ca_file", "there is no such file")
    for header, value in {**provider.headers, "authorization": provider.api_key}.items():
        if not (header.isascii() and header.isprintable() and value.isascii() and value.isprintable()):
            raise ConfigError(f"{path}.headers.{header}", "must be visible ASCII characters")
    if provider.api_key != provider.api_key.strip():
        message = "begins or ends with a space, or is nothing else"
        raise ConfigError(f"{path}.api_key", message, origin=draft.origin_of(("providers", name, "api_key")))


def _check_way(path: str, provider: ProviderSettings) -> None:
    if provider.upstream == "lean" and provider.proxy:
        raise ConfigError(f"{path}.upstream", "the lean client knows no proxies; auto takes httpx")
    if provider.proxy and _split(provider.proxy).scheme not in {"http", "https"}:
        raise ConfigError(f"{path}.proxy", "must be an http:// or https:// address")
    if not provider.http2:
        return
    if provider.upstream == "lean":
        raise ConfigError(f"{path}.upstream", "the lean client speaks HTTP/1.1 only; auto takes httpx")
    if _split(provider.base_url).scheme != "https":
        raise ConfigError(f"{path}.http2", "is agreed on in TLS: base_url must be an https:// address")
    if find_spec("h2") is None:
        raise ConfigError(f"{path}.http2", "needs one more package: pip install 'signalbox[http2]', or make http2")


def _check_telemetry(telemetry: TelemetrySettings, draft: Draft) -> None:
    if not telemetry.on:
        return
    url = _split(telemetry.address)
    name = "endpoint" if telemetry.endpoint else "enabled"
    path, origin = f"telemetry.{name}", draft.origin_of(("telemetry", name))
    if url.scheme not in {"http", "https"} or not url.hostname or url.query or url.fragment:
        raise ConfigError(path, "must be an http:// or https:// address without a query", origin=origin)
    for header, value in telemetry.headers.items():
        if not (header.isascii() and header.isprintable() and value.isascii() and value.isprintable()):
            raise ConfigError(f"telemetry.headers.{header}", "must be visible ASCII characters")
    if not _is_there("opentelemetry.sdk") or not _is_there("opentelemetry.exporter.otlp.proto.http"):
        raise ConfigError(path, NEEDS_OTEL, origin=origin)


def _is_there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # what is above it is missing
        return False


def _check_check(name: str, row: CheckSettings, draft: Draft) -> None:
    path = f"health.checks.{name}"
    origin = draft.origin_of(("health", "checks", name))
    if not name or not name.isascii() or not name.isprintable() or " " in name:
        raise ConfigError(path, "a check's name is visible ASCII characters without spaces", origin=origin)
    if row.kind == "http":
        url = _split(row.url)
        if url.scheme not in {"http", "https"} or not url.hostname or "@" in url.netloc:
            raise ConfigError(f"{path}.url", "must be an http:// or https:// address without a password", origin=origin)
    host, _, port = row.address.rpartition(":")
    if row.kind == "tcp" and not (host and port.isdigit() and 0 < int(port) < 65536):
        raise ConfigError(f"{path}.address", "must be host:port", origin=origin)


def _check_route(model: str, targets: tuple[str, ...], settings: Settings, draft: Draft) -> None:
    path = f"routes.{model}"
    origin = draft.origin_of(("routes", model))
    if not targets:
        raise ConfigError(path, "needs at least one target, written provider:model", origin=origin)
    for target in targets:
        provider, colon, name = target.partition(":")
        if not (colon and name):
            raise ConfigError(path, f"the target {target!r} is not written provider:model", origin=origin)
        if provider not in settings.providers:
            raise ConfigError(path, f"the target {target!r} names no configured provider", origin=origin)


def _check_keys(settings: Settings, draft: Draft) -> None:
    holders: dict[str, str] = {}
    for name, key in settings.keys.items():
        _check_key(name, key.key, draft)
        if key.key in holders:
            raise ConfigError(f"keys.{name}", f"is the same key as keys.{holders[key.key]}")
        holders[key.key] = name
    if metrics := settings.metrics.key:
        origin = draft.origin_of(("metrics", "key"))
        if not _is_key(metrics):
            raise ConfigError("metrics.key", NO_KEY, origin=origin)
        if metrics in holders:
            raise ConfigError("metrics.key", f"is the same key as keys.{holders[metrics]}", origin=origin)


def _check_key(name: str, key: str, draft: Draft) -> None:
    if not name or not name.isascii() or not name.isprintable() or " " in name:
        raise ConfigError(f"keys.{name!r}", "a key's name is visible ASCII characters without spaces")
    if not _is_key(key):
        raise ConfigError(f"keys.{name}.key", NO_KEY, origin=draft.origin_of(("keys", name, "key")))


def _is_key(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and " " not in text
