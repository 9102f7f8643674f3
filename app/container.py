"""The composition root: which module gets what from which.

Everything is a Singleton built by a plain constructor. No async resources: one of them turns
every provider that depends on it async. What must be closed is listed in `closeables`.

Other settings mean another container (`successor`), in which what lives as long as the process is `KEPT` from the one
before. `hand_over` lets the rest go on from what it knew.
"""

from collections.abc import Callable
from typing import Any

from dependency_injector import containers
from dependency_injector import providers as di

from app import __version__
from app.cache.module import CacheModule
from app.domain.redaction import Redactor
from app.monitoring.health.module import HealthModule
from app.monitoring.module import MonitoringModule
from app.providers.module import ProvidersModule
from app.providers.upstream.module import UpstreamModule, essence_of
from app.services.module import ServicesModule
from app.settings import ProviderSettings, Settings


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
        certificate=settings.provided.server.tls_certificate,
        redact=redact,
        cache=cache.backend,
        adapters=upstream.adapters,
        listings=upstream.listings,
        standings=upstream.standings,
        metrics=monitoring.metrics,
        configuration=monitoring.configuration,
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

    # what runs beside the requests, and what is closed after them, the last one first
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


KEPT = (
    "cache.backend",
    "monitoring.configuration",
    "monitoring.custom",
    "monitoring.journal",
    "monitoring.metrics",
    "monitoring.passed",
    "monitoring.settled",
    "monitoring.standing_readings",
    "monitoring.statsd",
    "monitoring.telemetry",
    "monitoring.tracing",
    "monitoring.writer",
    "health.history",
    "health.lag",
    "health.machine",
    "health.redis_metrics",
    "services.drain",
    "services.wrong_keys",
    "upstream.standings",
)
"""What goes on as it is, whatever the settings say: it holds what may not be lost, or what a restart alone can change.
"""


def successor(before: Container, settings: Settings) -> Container:
    """What `settings` mean, beside what runs; building it changes nothing, and may raise whatever is wrong."""
    after = Container(settings=settings)
    for path in KEPT:
        _provider(after, path).override(di.Object(_provider(before, path)()))
    after.redact.override(di.Object(before.redact().knowing(settings.secrets())))
    after.network.before.override(di.Object(before.network.upstreams()))
    return after


def hand_over(before: Container, after: Container) -> None:
    """From here on `after` is what there is; raises whatever cannot be built, and then nothing has changed."""
    journal, history, peers = before.monitoring.journal(), before.health.history(), before.monitoring.peers()
    settings, standings = after.settings(), after.upstream.standings()
    same = _same(before.settings(), settings)
    strangers = [name for name in before.settings().providers if not same(f"provider:{name}")]
    forgotten = [standing for name in strangers if (standing := standings.forget(name)) is not None]
    try:
        after.health.service()
        after.services.llm()
        after.services.keys()
    except BaseException:
        for standing in forgotten:
            standings.restore(standing)
        _stand(before)
        raise
    standings.configure(settings.breaker, settings.retry)
    journal.refusals = settings.log.has_calls
    history.clean = after.redact()
    peers.update(after.monitoring.peers())
    after.monitoring.peers.override(di.Object(peers))
    after.upstream.listings().follow(before.upstream.listings(), same=lambda name: same(f"provider:{name}"))
    after.health.service().follow(before.health.service(), same=same)
    _stand(after)


def _stand(container: Container) -> None:
    """Metrics tell of what this one has, and of nothing else."""
    metrics = container.monitoring.metrics()
    container.monitoring.standing_readings().names = list(container.settings().providers)
    metrics.endpoints = container.health.endpoints().readings
    metrics.providers.only(container.settings().providers)
    container.health.service().stand()


def _same(before: Settings, after: Settings) -> Callable[[str], bool]:
    """Whether the check of a name looks at the same thing as before."""
    rows: list[tuple[dict[str, Any], dict[str, Any], str]] = [
        (before.providers, after.providers, "provider:"),
        (before.health.checks, after.health.checks, "custom:"),
    ]

    def same(check: str) -> bool:
        for old, new, prefix in rows:
            if check.startswith(prefix):  # a plugin's check may have no row at all
                name = check.removeprefix(prefix)
                return _essence(old.get(name)) == _essence(new.get(name))
        return True

    return same


def _essence(row: Any) -> object:
    return essence_of(row) if isinstance(row, ProviderSettings) else row


def _provider(container: Container, path: str) -> Any:
    module, name = path.split(".")
    return getattr(getattr(container, module), name)
