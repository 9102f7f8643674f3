from collections.abc import Sequence

from dependency_injector import containers
from dependency_injector import providers as di

from app.cache.base import CacheBackend
from app.monitoring.backlog import Backlog
from app.monitoring.health.service import HealthService
from app.monitoring.journal import Journal
from app.monitoring.metrics import Metrics
from app.providers.registry import ProviderRegistry
from app.providers.standing import Standings
from app.services.drain import Drain
from app.services.keys import KeyService
from app.services.llm import LLMService
from app.services.observers import Journaling, Metering, Observer
from app.services.stages.base import Stage
from app.services.stages.caching import CachingStage
from app.services.stages.coalescing import CoalescingStage
from app.services.stages.fallback import FallbackDispatcher
from app.services.wrong_keys import WrongKeys
from app.settings import Settings


def _observers(settings: Settings, metrics: Metrics, settled: Backlog, journal: Journal) -> Sequence[Observer]:
    metering, log = Metering(metrics.providers, settled), settings.log
    return [metering, Journaling(journal)] if log.calls and log.has_calls else [metering]


def _stages(settings: Settings, cache: CacheBackend) -> Sequence[Stage]:
    """The order of the stages is the order a call meets them."""
    return [CachingStage(cache, settings.cache), CoalescingStage()]


def _dispatch(
    registry: ProviderRegistry, standings: Standings, metrics: Metrics, health: HealthService, settings: Settings
) -> FallbackDispatcher:
    held = standings.held(settings.providers)
    return FallbackDispatcher(registry, held, metrics.providers, health, settings.retry)


class ServicesModule(containers.DeclarativeContainer):
    settings = di.Dependency(instance_of=Settings)
    cache: di.Dependency[CacheBackend] = di.Dependency()
    registry = di.Dependency(instance_of=ProviderRegistry)
    standings = di.Dependency(instance_of=Standings)
    metrics = di.Dependency(instance_of=Metrics)
    settled: di.Dependency[Backlog] = di.Dependency()
    journal = di.Dependency(instance_of=Journal)
    health = di.Dependency(instance_of=HealthService)

    drain = di.Singleton(Drain)
    keys = di.Singleton(KeyService, settings.provided.keys, metrics_key=settings.provided.metrics.key)
    wrong_keys = di.Singleton(WrongKeys, settings.provided.server.wrong_keys_per_minute)
    observers = di.Singleton(_observers, settings, metrics, settled, journal)
    stages = di.Singleton(_stages, settings, cache)
    dispatch = di.Singleton(_dispatch, registry, standings, metrics, health, settings)
    llm = di.Singleton(LLMService, stages, dispatch, observers, drain, registry.provided.public_name)
