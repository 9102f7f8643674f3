import sys
from collections.abc import Mapping
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Protocol

from dependency_injector import containers
from dependency_injector import providers as di

from app.cache.base import CacheBackend
from app.domain.outcome import Outcome
from app.domain.passage import Passage
from app.monitoring.backlog import Backlog
from app.monitoring.configuration import Configuration
from app.monitoring.custom import CustomMetrics, catalogue
from app.monitoring.journal import Journal
from app.monitoring.lines import WholeLines
from app.monitoring.logfile import LogFile
from app.monitoring.metrics import Metrics
from app.monitoring.plugins import load_plugins
from app.monitoring.standings import StandingReadings
from app.monitoring.statsd.emitter import StatsdEmitter
from app.monitoring.summary import MetricsSummary
from app.monitoring.telemetry.genai import GenAIMetrics
from app.monitoring.telemetry.names import Peer, peers_of
from app.monitoring.telemetry.sender import Sender
from app.monitoring.telemetry.tracing import Tracing
from app.monitoring.writer import LineWriter
from app.providers.endpoints import endpoint_of
from app.providers.standing import Standings
from app.settings import (
    LogSettings,
    MetricsSettings,
    ProviderSettings,
    StatsdSettings,
    TelemetrySettings,
    style_of,
)


def _custom() -> CustomMetrics:
    load_plugins(catalogue)
    return catalogue


def _metrics(  # noqa: PLR0913 - whom it asks
    *,
    cache: CacheBackend,
    version: str,
    settings: MetricsSettings,
    writer: LineWriter,
    custom: CustomMetrics,
    standings: StandingReadings,
    configuration: Configuration,
) -> Metrics:
    metrics = Metrics(
        cache=lambda: cache.size, version=version, max_series=settings.max_series, counting=settings.enabled
    )
    metrics.lines_dropped = lambda: writer.lost
    metrics.lines_held = lambda: writer.sparing.held
    metrics.tally.add_source(standings)
    metrics.tally.add_source(configuration.readings)
    custom.join(metrics.tally)
    metrics.before_reading.append(partial(custom.join, metrics.tally))
    return metrics


def _summary(metrics: Metrics, cache: CacheBackend, rows: Mapping[str, ProviderSettings]) -> MetricsSummary:
    endpoints = {name: endpoint_of(row.base_url) or name for name, row in rows.items()}
    return MetricsSummary(metrics, cache=lambda: cache.size, endpoints=endpoints)


def _settled(metrics: Metrics, settings: MetricsSettings) -> Backlog[Outcome]:
    backlog = Backlog(*([metrics.calls.settled_all] if settings.enabled else []))
    metrics.before_reading.append(backlog.work_off)
    return backlog


def _passed(metrics: Metrics, settings: MetricsSettings) -> Backlog[Passage]:
    backlog = Backlog(*([metrics.answers.passed_all] if settings.enabled else []))
    metrics.before_reading.append(backlog.work_off)
    return backlog


def _statsd(metrics: Metrics, settled: Backlog[Outcome], settings: StatsdSettings) -> StatsdEmitter:
    emitter = StatsdEmitter(settings, metrics.tally, metrics.statsd, metrics.before_reading)
    if emitter.on:
        settled.takers.append(emitter.settled)
    return emitter


def _writer(settings: LogSettings) -> LineWriter:
    """Raises OSError where the file cannot be opened."""
    if not settings.file:
        return LineWriter(WholeLines(FileIO(sys.stdout.fileno(), "wb", closefd=False)))
    file = LogFile(
        Path(settings.file),
        max_bytes=settings.file_max_bytes,
        backups=settings.file_backups,
        retention_days=settings.file_retention_days,
    )
    return LineWriter(file)


def _journal(settings: LogSettings, writer: LineWriter) -> Journal:
    style = style_of(settings, terminal=sys.stdout.isatty())
    return Journal(writer, style=style, refusals=settings.has_calls)


def _peers(rows: Mapping[str, ProviderSettings]) -> dict[str, Peer]:
    return dict(peers_of(rows))


class _Closeable(Protocol):
    async def aclose(self) -> None: ...


class _Off:
    async def aclose(self) -> None:
        return None


def _telemetry(  # noqa: PLR0913 - what it is made of
    *,
    settings: TelemetrySettings,
    exposed: MetricsSettings,
    peers: dict[str, Peer],
    metrics: Metrics,
    passed: Backlog[Passage],
    version: str,
) -> _Closeable:
    if not settings.on:
        return _Off()
    from app.monitoring.telemetry.otlp import Otlp  # noqa: PLC0415 - an extra, and 150 ms of the start

    genai = GenAIMetrics(settings, peers, max_series=exposed.max_series) if settings.metrics else None
    sender = Sender(Otlp(settings, peers, version), genai, settings)
    passed.takers.append(sender.passed)
    metrics.spans_exported, metrics.spans_dropped = lambda: sender.exported, lambda: sender.dropped
    return sender


class MonitoringModule(containers.DeclarativeContainer):
    log = di.Dependency(instance_of=LogSettings)
    exposed = di.Dependency(instance_of=MetricsSettings)
    emitted = di.Dependency(instance_of=StatsdSettings)
    cache: di.Dependency[CacheBackend] = di.Dependency()
    version = di.Dependency(instance_of=str)
    otlp = di.Dependency(instance_of=TelemetrySettings)
    rows: di.Dependency[Mapping[str, ProviderSettings]] = di.Dependency()
    standings = di.Dependency(instance_of=Standings)

    configuration = di.Singleton(Configuration)
    custom = di.Singleton(_custom)
    writer = di.Singleton(_writer, log)
    standing_readings = di.Singleton(StandingReadings, standings, rows)
    metrics = di.Singleton(
        _metrics,
        cache=cache,
        version=version,
        settings=exposed,
        writer=writer,
        custom=custom,
        standings=standing_readings,
        configuration=configuration,
    )
    summary = di.Singleton(_summary, metrics, cache, rows)
    settled = di.Singleton(_settled, metrics, exposed)
    passed = di.Singleton(_passed, metrics, exposed)
    statsd = di.Singleton(_statsd, metrics, settled, emitted)
    journal = di.Singleton(_journal, log, writer)
    tracing = di.Singleton(Tracing, otlp)
    peers = di.Singleton(_peers, rows)
    telemetry = di.Singleton(
        _telemetry, settings=otlp, exposed=exposed, peers=peers, metrics=metrics, passed=passed, version=version
    )
