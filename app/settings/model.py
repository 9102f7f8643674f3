"""The settings as one frozen tree; units stand in the names, ranges in the types."""

import re
from typing import Annotated, Literal
from urllib.parse import unquote

from msgspec import Meta, field
from msgspec.structs import replace

from app.settings.resilience import BreakerSettings, RetrySettings
from app.settings.types import Percent, Port, Seconds, Secret, Section, Size

MIB = 1024 * 1024
TOLD_TO_ALL = frozenset({"HTTP-Referer", "X-Title"})
"""Headers of a provider row that are no secrets."""


class ServerSettings(Section, frozen=True):
    """Where it listens and what it takes; `drain_*` say how it stops.

    With `tls_certificate`, a PEM file with the whole chain, TLS is spoken and nothing else; without `tls_key` the key
    is in there too.
    """

    host: str = "127.0.0.1"
    port: Port = 12434
    max_body_bytes: Size = 10 * MIB
    max_header_bytes: Annotated[int, Meta(ge=1024, le=MIB)] = 32 * 1024
    max_header_fields: Annotated[int, Meta(ge=10, le=10_000)] = 100
    max_url_bytes: Annotated[int, Meta(ge=256, le=MIB)] = 8 * 1024
    max_in_flight: Size = 1000
    """Requests that are being answered; beyond it 503, but not for health and metrics."""
    header_seconds: Seconds = 5
    body_seconds: Seconds = 30
    write_stall_seconds: Seconds = 60
    keep_alive_seconds: Seconds = 75
    drain_seconds: Annotated[float, Meta(ge=0)] = 30
    drain_delay_seconds: Annotated[float, Meta(ge=0)] = 0
    tls_certificate: str = ""
    tls_key: str = ""
    tls_key_password: Secret = field(default_factory=Secret)
    wrong_keys_per_minute: Annotated[int, Meta(ge=0, le=1_000_000)] = 60
    """From one address; 0: without a limit."""
    watch_config: bool = True
    """The file is read again when it changes; SIGHUP has it read in any case."""
    insecure_allow_unauthenticated: bool = False
    """Listening beyond this machine without keys; a flag of the command line only."""


class LogSettings(Section, frozen=True):
    """`auto` is for people on a terminal and JSON elsewhere; `calls` is the line for every settled call.

    `file` takes the place of standard output. Full ones are kept as `file.1`, `file.2` and so on; with `file_max_bytes`
    0 it is never full, with `file_retention_days` 0 none is too old.
    """

    level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
    calls: bool = True
    file: str = ""
    file_max_bytes: Annotated[int, Meta(ge=0)] = 50 * MIB
    file_backups: Annotated[int, Meta(ge=0, le=1000)] = 10
    file_retention_days: Annotated[float, Meta(ge=0, le=36500)] = 30

    @property
    def has_calls(self) -> bool:
        """Lines of calls and refusals are of level info."""
        return self.level in {"debug", "info"}


class CacheSettings(Section, frozen=True):
    """`auto` takes Redis when a URL is configured, else memory.

    `max_bytes` bounds the answers in this process: the whole cache, or what is in front of Redis for `l1_seconds`.
    `ca_file` names the only authorities Redis' certificate may come from. With `hmac_key`, of 16 characters or more,
    only values that were written by somebody who knows it are read from Redis.
    """

    enabled: bool = True
    backend: Literal["auto", "memory", "redis"] = "auto"
    url: Secret = field(default_factory=Secret)
    ca_file: str = ""
    hmac_key: Secret = field(default_factory=Secret)
    ttl_seconds: Seconds = 3600
    max_bytes: Size = 16 * MIB
    max_entry_bytes: Size = MIB
    finish_reasons: tuple[str, ...] = ("stop",)
    timeout_seconds: Seconds = 0.05
    l1_seconds: Annotated[float, Meta(ge=0, le=3600)] = 5
    shared: bool = False
    """Tenants see each other's answers."""


class Timeouts(Section, frozen=True):
    """Seconds for one attempt; `stream_total` takes the place of `total` for streams."""

    connect: Seconds = 5
    first_byte: Seconds = 60
    idle: Seconds = 60
    total: Seconds = 600
    stream_total: Seconds = 1800


class ProviderSettings(Section, frozen=True):
    """One upstream. `models` spares a server that has no `/models` the question. Ollama's `/v1` may be left out.

    `upstream` chooses the client; `auto` takes httpx where there is a proxy or HTTP/2, else the lean one. With `http2`
    a server that does not speak it is spoken to in HTTP/1.1. `ca_file` names the only authorities an https server's
    certificate may come from; else the system's and certifi's count.
    """

    kind: Literal["openai_compatible", "ollama", "llama_cpp", "demo"] = "openai_compatible"
    base_url: str = ""
    api_key: Secret = field(default_factory=Secret)
    headers: dict[str, str] = {}
    models: tuple[str, ...] = ()
    prefix_only: bool = False
    """Its models are reached as `name/model` only."""
    critical: bool = False
    timeouts: Timeouts = field(default_factory=Timeouts)
    max_connections: Size = 512
    max_waiting: Size = 256
    """Calls that wait for a connection, so that one provider that hangs does not take all of `server.max_in_flight`."""
    upstream: Literal["auto", "lean", "httpx"] = "auto"
    http2: bool = False
    proxy: Secret = field(default_factory=Secret)
    ca_file: str = ""


class CheckSettings(Section, frozen=True):
    """A check of the operator's own. `python` is an entry point of another package, by its name.

    `critical`: /health is an error while it fails, else degraded. Without `expect_status` 200 to 399 are fine.
    """

    kind: Literal["http", "tcp", "python"] = "http"
    url: str = ""
    address: str = ""
    interval_seconds: Seconds = 30
    timeout_seconds: Seconds = 2
    retries: Annotated[int, Meta(ge=0, le=10)] = 0
    critical: bool = False
    expect_status: tuple[Annotated[int, Meta(ge=100, le=599)], ...] = ()


class HealthSettings(Section, frozen=True):
    """Thresholds are percent, of the event loop's lag milliseconds. `paths` tell what `/health` does."""

    fail_on: Literal["any", "all", "critical"] = "any"
    public_details: bool | None = None
    paths: tuple[str, ...] = ()
    interval_seconds: Seconds = 30
    timeout_seconds: Seconds = 2
    probe: bool = True
    models: tuple[str, ...] = ()
    checks: dict[str, CheckSettings] = {}
    cpu_threshold: Percent = 80
    memory_threshold: Percent = 90
    disk_threshold: Percent = 90
    descriptors_threshold: Percent = 90
    event_loop_threshold_ms: Seconds = 250


class MetricsSettings(Section, frozen=True):
    """`key` opens metrics and nothing else. `max_series` bounds the samples of each metric, by label `other`.

    With `port` they are served there too, and nothing else is; an empty `host` is the server's. `paths` tell what
    `/metrics` does.
    """

    enabled: bool = True
    public: bool = False
    key: Secret = field(default_factory=Secret)
    max_series: Annotated[int, Meta(ge=100)] = 2000
    port: Port | None = None
    host: str = ""
    paths: tuple[str, ...] = ()


class StatsdSettings(Section, frozen=True):
    """`address` is host:port or unix:///path; empty: nothing is sent. Without `dogstatsd` lines have no tags.

    `sample_rate` is the share of calls whose times are sent; all of them are counted.
    """

    address: str = ""
    prefix: str = "signalbox."
    dogstatsd: bool = True
    tags: tuple[str, ...] = ()
    interval_seconds: Annotated[float, Meta(ge=0.1, le=3600)] = 10
    sample_rate: Annotated[float, Meta(gt=0, le=1)] = 1


Sampler = Literal[
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
]


class TelemetrySettings(Section, frozen=True):
    """OpenTelemetry. `enabled` left open means: as soon as there is an `endpoint`, the base address of OTLP over HTTP.

    `sampler` has OpenTelemetry's names; `queue` is how many requests may wait to be exported.
    """

    enabled: bool | None = None
    endpoint: str = ""
    headers: dict[str, str] = {}
    service_name: str = "signalbox"
    resource: dict[str, str] = {}
    traces: bool = True
    metrics: bool = True
    sampler: Sampler = "parentbased_traceidratio"
    sample_ratio: Annotated[float, Meta(ge=0, le=1)] = 1
    propagate: bool = True
    """Providers are told the trace."""
    semconv: Literal["old", "new", "both"] = "both"
    interval_seconds: Seconds = 60
    timeout_seconds: Seconds = 10
    queue: Size = 2048

    @property
    def on(self) -> bool:
        return (bool(self.endpoint) if self.enabled is None else self.enabled) and (self.traces or self.metrics)

    @property
    def address(self) -> str:
        return (self.endpoint or "http://localhost:4318").rstrip("/")


class CorsSettings(Section, frozen=True):
    origins: tuple[str, ...] = ()


class KeySettings(Section, frozen=True):
    """The name is the row's; the tenant too, unless it is given."""

    key: Secret
    tenant: str = ""


class Settings(Section, frozen=True):
    server: ServerSettings = field(default_factory=ServerSettings)
    log: LogSettings = field(default_factory=LogSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)
    retry: RetrySettings = field(default_factory=RetrySettings)
    breaker: BreakerSettings = field(default_factory=BreakerSettings)
    health: HealthSettings = field(default_factory=HealthSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    statsd: StatsdSettings = field(default_factory=StatsdSettings)
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)
    cors: CorsSettings = field(default_factory=CorsSettings)
    keys: dict[str, KeySettings] = {}
    providers: dict[str, ProviderSettings] = {}
    routes: dict[str, tuple[str, ...]] = {}

    @property
    def aside(self) -> ServerSettings | None:
        """Where metrics are served beside everything else, if they are."""
        metrics = self.metrics
        if not metrics.enabled or metrics.port is None:
            return None
        return replace(self.server, host=metrics.host or self.server.host, port=metrics.port)

    def secrets(self) -> list[str]:
        """Every secret in the tree, for taking them out of other people's texts."""
        found: list[str] = [each.api_key for each in self.providers.values()]
        found += [
            value for each in self.providers.values() for name, value in each.headers.items() if name not in TOLD_TO_ALL
        ]
        found += [
            password
            for each in self.providers.values()
            for password in (*passwords_of(each.proxy), *passwords_of(each.base_url))
        ]
        found += [each.key for each in self.keys.values()]
        found += [*self.telemetry.headers.values(), *passwords_of(self.telemetry.endpoint)]
        found += [self.cache.url, *passwords_of(self.cache.url), self.cache.hmac_key, self.metrics.key]
        found += [self.server.tls_key_password]
        return [each for each in found if each]


def passwords_of(url: str) -> list[str]:
    """The passwords in a URL, as written and as meant: before the host, or as Redis' `password=` and Sentinel's."""
    credentials, at, _ = url.rpartition("@")
    found = [credentials.rpartition(":")[2]] if at else []
    found += re.findall(r"[?&](?:sentinel_)?password=([^&#]*)", url)
    return [*found, *(meant for each in found if (meant := unquote(each)) != each)]


def style_of(log: LogSettings, *, terminal: bool) -> Literal["json", "console"]:
    """How log lines are written where `auto` leaves it open; `terminal`: standard output is one."""
    if log.format == "auto":
        return "console" if terminal and not log.file else "json"
    return log.format
