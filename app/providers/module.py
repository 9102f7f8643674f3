from collections.abc import Mapping, Sequence

from dependency_injector import containers
from dependency_injector import providers as di

from app.domain.redaction import Redactor
from app.providers.base import Provider
from app.providers.demo import DemoProvider
from app.providers.listing import Listings
from app.providers.openai_compatible import OllamaProvider, OpenAICompatibleProvider
from app.providers.registry import ProviderRegistry
from app.providers.standing import Standings
from app.providers.upstream.base import Upstream
from app.settings import BreakerSettings, ProviderSettings, RetrySettings


def _adapters(
    rows: Mapping[str, ProviderSettings], upstreams: Mapping[str, Upstream], redact: Redactor
) -> Sequence[Provider]:
    return [_adapter(name, row, upstreams, redact) for name, row in rows.items()]


def _adapter(name: str, row: ProviderSettings, upstreams: Mapping[str, Upstream], redact: Redactor) -> Provider:
    if row.kind == "demo":
        return DemoProvider(name=name)
    kind = OllamaProvider if row.kind == "ollama" else OpenAICompatibleProvider
    return kind(name=name, row=row, upstream=upstreams[name], redact=redact)


class ProvidersModule(containers.DeclarativeContainer):
    settings = di.Dependency(instance_of=dict)
    routes = di.Dependency(instance_of=dict)
    redact = di.Dependency(instance_of=Redactor)
    upstreams = di.Dependency(instance_of=dict)
    breaker = di.Dependency(instance_of=BreakerSettings)
    retry = di.Dependency(instance_of=RetrySettings)

    standings = di.Singleton(Standings, breaker, retry)
    adapters = di.Singleton(_adapters, settings, upstreams, redact)
    listings = di.Singleton(Listings, adapters)
    registry = di.Singleton(ProviderRegistry, adapters, routes, listings, standings)
