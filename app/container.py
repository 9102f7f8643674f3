"""The composition root: which module gets what from which.

Everything is a Singleton built by a plain constructor. No async resources: one of them turns
every provider that depends on it async. What must be closed is listed in `closeables`.
"""

from dependency_injector import containers
from dependency_injector import providers as di

from app import __version__
from app.cache.module import CacheModule
from app.domain.redaction import Redactor
from app.monitoring.health.module import HealthModule
from app.monitoring.module import MonitoringModule
from app.providers.module import ProvidersModule
from app.providers.upstream.module import UpstreamModule
from app.services.module import ServicesModule
from app.settings import Settings


def _redactor(settings: Settings) -> Redactor:
    return Redactor(settings.secrets())


class Container(containers.DeclarativeContainer):
    settings = di.Dependency(instance_of=Settings)
    version = di.Object(__version__)
    redact = di.Singleton(_redactor, settings)

    cache = di.Container(CacheModule, settings=settings.provided.cache)
    network = di.Container(UpstreamModule, settings=settings.provided.providers, agent=f"signalbox/{__version__}")
    upstream = di.Container(
        ProvidersModule,
        settings=settings.provided.providers,
        routes=settings.provided.routes,
        upstreams=network.upstreams,
        breaker=settings.provided.breaker,
        retry=settings.provided.retry,
        redact=redact,
    )
    monitoring = di.Container(
        MonitoringModule,
        log=settings.provided.log,
        exposed=settings.provided.metrics,
        emitted=settings.provided.statsd,
        otlp=settings.provided.telemetry,
        rows=settings.provided.providers,
        standings=upstream.standings,
        cache=cache.backend,
        version=version,
    )
    health = di.Container(
        HealthModule,
        settings=settings.provided.health,
        routes=settings.provided.routes,
        useful=settings.provided.cache.timeout_seconds,
        log_file=settings.provided.log.file,
        redact=redact,
        cache=cache.backend,
        adapters=upstream.adapters,
        listings=upstream.listings,
        standings=upstream.standings,
        metrics=monitoring.metrics,
        version=version,
    )
    services = di.Container(
        ServicesModule,
        settings=settings,
        cache=cache.backend,
        registry=upstream.registry,
        standings=upstream.standings,
        metrics=monitoring.metrics,
        settled=monitoring.settled,
        journal=monitoring.journal,
        health=health.service,
    )

    # what the plugin runs beside the requests, and what it closes after them, the last one first
    workers = di.List(cache.backend, upstream.listings, health.service, health.lag, monitoring.statsd)
    closeables = di.List(
        monitoring.journal,
        monitoring.statsd,
        monitoring.telemetry,
        cache.backend,
        network.upstreams,
        upstream.listings,
        monitoring.settled,
        monitoring.passed,
        health.service,
    )
