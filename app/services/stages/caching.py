"""Answer from the cache when the same question was answered before."""

import time
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Annotated

import msgspec
import structlog

from app.cache.base import CacheBackend
from app.cache.keys import key_of
from app.domain.controls import CacheControls
from app.domain.errors import NotCachedError
from app.domain.llm import CacheStatus, LLMRequest, Reply
from app.domain.rarely import Rarely
from app.domain.usage import TokenUsage
from app.services.stages.base import Call, Handler
from app.settings import CacheSettings

logger = structlog.get_logger("signalbox.cache")

MOST_AHEAD_SECONDS = 3600.0
"""By how much the clock of who stored an answer may be ahead of ours."""

MOST_TOKENS = 2**40


class CachingStage:
    """Stored is only a complete answer whose every `finish_reason` says so; a stream is stored and replayed whole.

    What is read back is checked against its key: garbage, or another question's answer, is a miss.
    """

    def __init__(self, cache: CacheBackend, settings: CacheSettings, *, clock: Callable[[], float] = time.time) -> None:
        self._cache = cache
        self._settings = settings
        self._finish_reasons = frozenset(settings.finish_reasons)
        self._clock = clock
        self._rarely = Rarely()

    async def __call__(self, call: Call, proceed: Handler) -> Reply:
        controls = call.controls
        if not self._settings.enabled or not (controls.read or controls.store):
            _refuse_if_only_cached(controls)
            return await proceed(call)
        key = key_of(call.request, tenant="" if self._settings.shared else call.caller.tenant)
        if controls.read:
            stored = await self._found(key, call)
            call.passage.looked_up = time.perf_counter()
            if stored is not None:
                return self._replay(call.request, stored)
            call.cache = CacheStatus.MISS
            if controls.store:
                call.key = key
        _refuse_if_only_cached(controls)
        reply = await proceed(call)
        if reply.cache is CacheStatus.BYPASS:
            reply.cache = call.cache
            if controls.store:
                self._remember(key, call, reply)
        return reply

    async def _found(self, key: bytes, call: Call) -> "_Stored | None":
        if (value := await self._cache.get(key)) is None:
            return None
        try:
            stored = _decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._rejected("format")
            return None
        age = self._clock() - stored.made_at
        if wrong := _what_is_wrong(stored, key, call.request, age):
            self._rejected(wrong)
            return None
        if age >= stored.ttl:  # what stands before the cache may have kept it for a moment longer
            return None
        most = call.controls.max_age
        return stored if most is None or age <= most else None

    def _rejected(self, reason: str) -> None:
        self._cache.size.reject(reason)
        if self._rarely.may("rejected"):
            logger.warning("a stored answer is not what it has to be, and counts as a miss", reason=reason)

    def _replay(self, request: LLMRequest, stored: "_Stored") -> Reply:
        age = max(self._clock() - stored.made_at, 0.0)
        return Reply(
            body=_replayed(stored.body) if stored.stream else stored.body,
            provider=stored.provider,
            model=request.model,
            usage=stored.usage,
            complete=True,
            cache=CacheStatus.HIT,
            age=age,
            ttl=stored.ttl - age,
        )

    def _remember(self, key: bytes, call: Call, reply: Reply) -> None:
        ttl = call.controls.ttl or self._settings.ttl_seconds
        if isinstance(reply.body, bytes):
            self._store(key, reply, reply.body, stream=False, ttl=ttl)
        else:
            call.taps.append(
                _Recorder(partial(self._store, key, reply, stream=True, ttl=ttl), self._settings.max_entry_bytes)
            )

    def _store(self, key: bytes, reply: Reply, body: bytes, *, stream: bool, ttl: float) -> None:
        fits = len(body) <= self._settings.max_entry_bytes
        if (
            fits
            and reply.complete
            and (reply.finish_reasons or not stream)
            and self._finish_reasons.issuperset(reply.finish_reasons)
        ):
            stored = _Stored(key, reply.provider, self._clock(), ttl, stream, reply.usage, body)
            self._cache.set(key, _encode(stored), ttl=ttl)


class _Recorder:
    """Keeps a stream that goes by, as long as it may be stored."""

    def __init__(self, store: Callable[[bytes], None], most: int) -> None:
        self._store = store
        self._most = most
        self._seen: list[bytes] = []
        self._size = 0

    def saw(self, events: bytes) -> None:
        self._size += len(events)
        if self._size <= self._most:
            self._seen.append(events)
        else:
            self._seen.clear()

    def ended(self, error: BaseException | None) -> None:
        if error is None and self._size <= self._most:
            self._store(b"".join(self._seen))


def _refuse_if_only_cached(controls: CacheControls) -> None:
    if controls.only_if_cached:
        raise NotCachedError("no stored answer, and only-if-cached was asked for")


async def _replayed(events: bytes) -> AsyncGenerator[bytes, None]:
    yield events


class _Stored(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    key: bytes
    provider: Annotated[str, msgspec.Meta(max_length=128)]
    made_at: float
    ttl: Annotated[float, msgspec.Meta(gt=0, le=1e9)]
    stream: bool
    usage: TokenUsage
    body: bytes


def _what_is_wrong(stored: _Stored, key: bytes, request: LLMRequest, age: float) -> str:
    """Empty for what we may have stored ourselves. Who can write to the store must not reach headers and counters."""
    if stored.key != key or stored.stream != request.stream:
        return "question"
    usage = stored.usage
    believable = 0 <= usage.prompt_tokens <= MOST_TOKENS and 0 <= usage.completion_tokens <= MOST_TOKENS
    if not (believable and stored.provider.isascii() and stored.provider.isprintable()):
        return "format"
    return "" if age > -MOST_AHEAD_SECONDS else "time"  # nor for what is no number


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Stored).decode
