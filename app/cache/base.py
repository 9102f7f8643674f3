"""What the gateway asks of a cache backend."""

from typing import Protocol

from msgspec import Struct, field

REJECTED = ("format", "seal", "size", "question", "time")
DROPPED = ("queue_full", "redis_away", "failed")


class RedisState(Struct):
    """How Redis is, beside what it holds; `errors` are counted by kind (`app/cache/trouble.py`).

    `breaker` is 0 closed, 1 half-open, 2 open, and `reason` why it is not closed. `policy` is the server's
    `maxmemory-policy`, empty while it has not been told.
    """

    breaker: float = 0.0
    reason: str = ""
    policy: str = ""
    policy_unsafe: bool = False
    errors: dict[str, int] = field(default_factory=dict)


class CacheSize(Struct):
    """How full a backend is; of a shared Redis the numbers are the whole server's, `near` is what is in front of it.

    `errors` are operations that failed, `rejected` values that were not what they had to be, `dropped` answers that
    were not written, each by reason; `redis` is there only where the backend is one.
    """

    keys: int = 0
    memory_bytes: int = 0
    evictions: int = 0
    errors: int = 0
    rejected: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REJECTED, 0))
    dropped: dict[str, int] = field(default_factory=lambda: dict.fromkeys(DROPPED, 0))
    near: "CacheSize | None" = None
    redis: RedisState | None = None

    def reject(self, reason: str) -> None:
        """A value was not what it had to be: a miss."""
        self.errors += 1
        self.rejected[reason] += 1

    def drop(self, reason: str, answers: int = 1) -> None:
        self.dropped[reason] += answers


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
