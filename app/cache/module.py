from dependency_injector import containers
from dependency_injector import providers as di
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from app.cache.layered import LayeredCache
from app.cache.memory import MemoryCache
from app.cache.redis import RedisCache
from app.settings import CacheSettings

CONNECTIONS = 64


def chosen(settings: CacheSettings) -> str:
    """The name of the backend the settings mean."""
    if not settings.enabled:  # then nobody asks it
        return "memory"
    if settings.backend == "memory" or (settings.backend == "auto" and not settings.url):
        return "memory"
    return "layered" if settings.l1_seconds else "redis"


def _client(settings: CacheSettings) -> Redis:
    """Fails at once instead of by redis-py's own patience of ten retries and five seconds each."""
    pool = BlockingConnectionPool.from_url(
        str(settings.url),
        max_connections=CONNECTIONS,
        timeout=settings.timeout_seconds,
        socket_timeout=1,
        socket_connect_timeout=1,
        retry=Retry(NoBackoff(), 0),
    )
    return Redis.from_pool(pool)


class CacheModule(containers.DeclarativeContainer):
    settings = di.Dependency(instance_of=CacheSettings)

    client = di.Singleton(_client, settings)
    memory = di.Singleton(MemoryCache, max_bytes=settings.provided.max_bytes)
    redis = di.Singleton(RedisCache, client, timeout=settings.provided.timeout_seconds)
    layered = di.Singleton(LayeredCache, memory, redis, seconds=settings.provided.l1_seconds)
    backend = di.Selector(di.Callable(chosen, settings), layered=layered, redis=redis, memory=memory)
