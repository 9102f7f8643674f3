from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from dependency_injector import containers
from dependency_injector import providers as di

from app.cache.base import CacheBackend
from app.domain.redaction import Redactor
from app.monitoring.conditions import RedisMetrics
from app.monitoring.configuration import Configuration
from app.monitoring.health.adapters import ModelIndicator, ModelsIndicator, ProviderIndicator, RedisIndicator, wanted
from app.monitoring.health.base import Indicator
from app.monitoring.health.custom import HttpQuestion, Repeated, TcpQuestion
from app.monitoring.health.endpoints import Endpoints
from app.monitoring.health.history import History
from app.monitoring.health.plugins import python_checks
from app.monitoring.health.service import HealthService
from app.monitoring.health.vitals import Crowd, LoopLag, tasks, vitals
from app.monitoring.health.watch import ProviderWatch, Watch
from app.monitoring.machine import Machine
from app.monitoring.metrics import Metrics
from app.providers.base import Provider
from app.providers.listing import Listings
from app.providers.standing import Standings
from app.providers.upstream.lean import LeanUpstream
from app.settings import HealthSettings


def _machine(metrics: Metrics, log_file: str) -> Machine:
    machine = Machine([Path(), *([Path(log_file).parent] if log_file else [])])
    metrics.tally.add_source(machine.readings)
    return machine


def _history(metrics: Metrics, redact: Redactor) -> History:
    return History(metrics.health, redact)


def _lag(metrics: Metrics) -> LoopLag:
    metrics.tally.add_source(tasks)
    return LoopLag(metrics.health.lag)


def _indicators(settings: HealthSettings, providers: Sequence[Provider]) -> Sequence[ProviderIndicator]:
    deadline, age = settings.timeout_seconds, settings.interval_seconds
    return [ProviderIndicator(each, deadline=deadline, max_age=age, probe=settings.probe) for each in providers]


def _watches(
    indicators: Sequence[ProviderIndicator], history: History, metrics: Metrics, standings: Standings
) -> dict[str, ProviderWatch]:
    made = {}
    for each in indicators:
        name = each.provider.name
        metrics.providers.stands(name, is_up=True)
        told = partial(metrics.providers.stands, name)
        made[name] = ProviderWatch(each, history, told=told, standing=standings.of(name), asks=each.probe)
    return made


def _endpoints(
    indicators: Sequence[ProviderIndicator], watches: Mapping[str, ProviderWatch], metrics: Metrics
) -> Endpoints:
    endpoints = Endpoints(indicators, watches)
    metrics.endpoints = endpoints.readings
    return endpoints


def _redis_metrics(cache: CacheBackend, metrics: Metrics) -> RedisMetrics | None:
    return RedisMetrics(metrics.tally, cache.size.redis) if cache.name == "redis" else None


def _redis(
    settings: HealthSettings, cache: CacheBackend, history: History, told: RedisMetrics | None, useful: float
) -> Watch | None:
    if told is None:
        return None
    return Watch(RedisIndicator(cache, told, deadline=settings.timeout_seconds, useful=useful), history)


def _front(settings: HealthSettings, metrics: Metrics, certificate: str) -> Sequence[Indicator]:
    crowd = Crowd(metrics.connections, threshold=settings.descriptors_threshold)
    return [crowd, metrics.certificate] if certificate else [crowd]


def _others(  # noqa: PLR0913 - what it looks at
    *,
    settings: HealthSettings,
    machine: Machine,
    lag: LoopLag,
    front: Sequence[Indicator],
    history: History,
    configuration: Configuration,
) -> Sequence[Watch]:
    """The machine, the callers, the configuration, and what the operator added."""
    made: list[Indicator] = [*vitals(settings, machine, lag), *front, configuration]
    for name, row in settings.checks.items():
        if row.kind == "http":
            made.append(Repeated(name, row, HttpQuestion(row, LeanUpstream)))
        elif row.kind == "tcp":
            made.append(Repeated(name, row, TcpQuestion(row)))
    made += python_checks(settings.checks)
    return [Watch(each, history) for each in made]


def _derived(  # noqa: PLR0913 - what it looks at
    *,
    settings: HealthSettings,
    routes: Mapping[str, Sequence[str]],
    listings: Listings,
    watches: Mapping[str, ProviderWatch],
    history: History,
    metrics: Metrics,
) -> Sequence[Watch]:
    def is_up(provider: str) -> bool:
        return watches[provider].is_up

    deadline, age = settings.timeout_seconds, settings.interval_seconds
    models: list[Indicator] = [
        ModelIndicator(each, wanted(each, routes, listings), is_up, deadline=deadline, max_age=age)
        for each in settings.models
    ]
    return [Watch(each, history) for each in (ModelsIndicator(listings, is_up, metrics.health.models), *models)]


class HealthModule(containers.DeclarativeContainer):
    settings = di.Dependency(instance_of=HealthSettings)
    routes = di.Dependency(instance_of=dict)
    useful = di.Dependency(instance_of=float)
    log_file = di.Dependency(instance_of=str)
    certificate = di.Dependency(instance_of=str)
    redact = di.Dependency(instance_of=Redactor)
    cache: di.Dependency[CacheBackend] = di.Dependency()
    adapters: di.Dependency[Sequence[Provider]] = di.Dependency()
    listings = di.Dependency(instance_of=Listings)
    standings = di.Dependency(instance_of=Standings)
    metrics = di.Dependency(instance_of=Metrics)
    configuration = di.Dependency(instance_of=Configuration)
    version = di.Dependency(instance_of=str)

    machine = di.Singleton(_machine, metrics, log_file)
    lag = di.Singleton(_lag, metrics)
    redis_metrics = di.Singleton(_redis_metrics, cache, metrics)
    history = di.Singleton(_history, metrics, redact)
    indicators = di.Singleton(_indicators, settings, adapters)
    watches = di.Singleton(_watches, indicators, history, metrics, standings)
    endpoints = di.Singleton(_endpoints, indicators, watches, metrics)
    service = di.Singleton(
        HealthService,
        providers=watches,
        redis=di.Singleton(_redis, settings, cache, history, redis_metrics, useful),
        others=di.Singleton(
            _others,
            settings=settings,
            machine=machine,
            lag=lag,
            front=di.Singleton(_front, settings, metrics, certificate),
            history=history,
            configuration=configuration,
        ),
        derived=di.Singleton(
            _derived,
            settings=settings,
            routes=routes,
            listings=listings,
            watches=watches,
            history=history,
            metrics=metrics,
        ),
        endpoints=endpoints,
        history=history,
        fail_on=settings.provided.fail_on,
        patience=settings.provided.timeout_seconds,
        interval=settings.provided.interval_seconds,
        version=version,
    )
