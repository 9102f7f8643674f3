"""A stage, the call it works on, and how stages are chained."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol, TypeAlias

from msgspec import Struct

from app.domain.controls import AS_CONFIGURED, CacheControls
from app.domain.llm import CacheStatus, LLMRequest, Reply
from app.domain.passage import Passage
from app.domain.principal import Principal
from app.services.presence import Presence


class Tap(Protocol):
    """Sees a stream go by, and how it ended; neither waits nor fails. A generator around it would cost more."""

    def saw(self, events: bytes) -> None: ...

    def ended(self, error: BaseException | None) -> None:
        """None: the stream came to its end."""
        ...


class Call(Struct):
    """One request on its way through the stages."""

    request: LLMRequest
    caller: Principal
    request_id: str
    presence: Presence
    passage: Passage
    started: float
    controls: CacheControls = AS_CONFIGURED
    key: bytes = b""
    """What it shares with an identical call: the cache key, or nothing where it may share nothing."""
    cache: CacheStatus = CacheStatus.BYPASS
    """What the cache said before anybody was asked."""
    place: str = "none"
    """The provider that has it."""
    public_model: str = ""
    """Its name in metrics, from when somebody is asked."""
    attempts: str = ""
    seconds_upstream: float = 0.0
    settled: bool = False
    taps: list[Tap] = []


Handler: TypeAlias = Callable[[Call], Awaitable[Reply]]


class Stage(Protocol):
    """Like a NestJS interceptor: look at the call, proceed or answer, look at the reply."""

    async def __call__(self, call: Call, proceed: Handler) -> Reply: ...


def chain(stages: Sequence[Stage], last: Handler) -> Handler:
    """Compose `stages` in reading order: the first one listed sees the call first."""
    handler = last
    for stage in reversed(stages):
        handler = partial(stage, proceed=handler)
    return handler
