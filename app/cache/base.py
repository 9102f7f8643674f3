"""What the gateway asks of a cache backend."""

from typing import Protocol

from msgspec import Struct


class CacheSize(Struct):
    """How full a backend is; of a shared Redis the numbers are the whole server's, `near` is what is in front of it."""

    keys: int = 0
    memory_bytes: int = 0
    evictions: int = 0
    errors: int = 0
    near: "CacheSize | None" = None


class CacheBackend(Protocol):
    """Bytes under a key, for a while.

    A backend that fails behaves as one that is empty: the cache may cost a call 50 ms, never its answer.
    `set` does not wait: what was set is got from then on, and reaches the store beside the calls.
    """

    name: str
    size: CacheSize

    async def get(self, key: bytes) -> bytes | None: ...

    def set(self, key: bytes, value: bytes, *, ttl: float) -> None: ...

    async def clear(self) -> None:
        """Forget every answer of ours, and nothing else."""
        ...

    async def ping(self) -> None:
        """Raises what is wrong with the backend, in a sentence for people."""
        ...

    async def run(self) -> None:
        """The worker beside the calls; ends when it is cancelled, having written what was set."""
        ...

    async def aclose(self) -> None: ...
