"""A stage, the call it works on, and how stages are chained."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol, TypeAlias

from msgspec import Struct, field

from app.domain.controls import AS_CONFIGURED, CacheControls
from app.domain.errors import Failure
from app.domain.llm import CacheStatus, LLMRequest, Reply
from app.domain.outcome import Outcome
from app.domain.principal import Principal
from app.domain.usage import NO_USAGE
from app.services.presence import Presence


class Call(Struct):
    """One request on its way through the stages."""

    request: LLMRequest
    caller: Principal
    request_id: str
    presence: Presence
    started: float
    controls: CacheControls = AS_CONFIGURED
    key: bytes = b""
    """What it shares with an identical call: the cache key, or nothing where it may share nothing."""
    cache: CacheStatus = CacheStatus.BYPASS
    """What the cache said before anybody was asked."""
    place: str = "none"
    """The provider that has it."""
    attempts: str = ""
    seconds_upstream: float = 0.0
    settled: list[Callable[[Outcome], None]] = field(default_factory=list)

    def on_settled(self, callback: Callable[[Outcome], None]) -> None:
        """Have `callback` told how the call ended: at the reply, or at the end of its stream."""
        self.settled.append(callback)

    def settle(
        self,
        reply: Reply | None,
        *,
        seconds: float,
        error: Failure | None = None,
        provider: str = "none",
        first: float | None = None,
    ) -> None:
        """Once, and without waiting: an `await` here would be cut when the client leaves."""
        request = self.request
        outcome = Outcome(
            request_id=self.request_id,
            caller=self.caller.name,
            operation=request.operation,
            model=request.model,
            stream=request.stream,
            seconds=seconds,
            error=error,
            attempts=self.attempts,
            seconds_upstream=self.seconds_upstream,
            seconds_to_first_chunk=first,
            provider=provider if reply is None else reply.provider,
            cache=self.cache if reply is None else reply.cache,
            usage=NO_USAGE if reply is None else reply.usage,
        )
        callbacks, self.settled = self.settled, []
        for callback in callbacks:
            callback(outcome)


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
