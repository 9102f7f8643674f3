from typing import Any

from dependency_injector import containers
from dependency_injector import providers as di

from app.cache.base import CacheBackend
from app.cache.frames import Frames
from app.cache.layered import LayeredCache
from app.cache.memory import MemoryCache
from app.settings import CacheSettings


def chosen(settings: CacheSettings) -> str:
    """The name of the backend the settings mean."""
    if not settings.enabled:  # then nobody asks it
        return "memory"
    if settings.backend == "memory" or (settings.backend == "auto" and not settings.url):
        return "memory"
    return "layered" if settings.l1_seconds else "redis"


def _client(settings: CacheSettings) -> Any:
    from app.cache.clients import client_for  # noqa: PLC0415 - 8 MB, and 50 ms of the start, where it is not wanted

    return client_for(settings)


def _redis(client: Any, settings: CacheSettings) -> CacheBackend:
    from app.cache.redis import RedisCache  # noqa: PLC0415 - as above

    frames = Frames(max_body_bytes=settings.max_entry_bytes, seal_key=settings.hmac_key)
    return RedisCache(client, timeout=settings.timeout_seconds, frames=frames)


class CacheModule(containers.DeclarativeContainer):
    settings = di.Dependency(instance_of=CacheSettings)

    memory = di.Singleton(MemoryCache, max_bytes=settings.provided.max_bytes)
    client = di.Singleton(_client, settings)
    redis = di.Singleton(_redis, client, settings)
    layered = di.Singleton(LayeredCache, memory, redis, seconds=settings.provided.l1_seconds)
    backend = di.Selector(di.Callable(chosen, settings), layered=layered, redis=redis, memory=memory)
