"""What a caller may ask of the cache, whatever spelling it came in."""

from msgspec import Struct


class CacheControls(Struct, frozen=True, kw_only=True, gc=False):
    """`read` and `store` may be forbidden; `max_age` and `ttl` are seconds; `only_if_cached` asks no provider."""

    read: bool = True
    store: bool = True
    max_age: float | None = None
    ttl: float | None = None
    only_if_cached: bool = False


AS_CONFIGURED = CacheControls()
