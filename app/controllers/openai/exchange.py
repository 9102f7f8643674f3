"""One exchange on a hot route, without Litestar's handler machinery: it is most of what we do."""

import asyncio
import time

from litestar.types import HTTPScope, Receive, Send

from app.controllers.cache_controls import controls_of
from app.controllers.door import Door, Headers, send_stream, send_whole, tell_request_id, when_caller_leaves
from app.controllers.errors import as_gateway_error
from app.controllers.openai.errors import error_answer
from app.controllers.openai.sse import as_sse
from app.domain.errors import CallerGoneError
from app.domain.llm import CacheStatus, LLMRequest, Operation, Reply
from app.services.presence import Presence

_JSON = (b"content-type", b"application/json")
_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
# RFC 9211
_CACHE_STATUS = {
    CacheStatus.MISS: b"signalbox; fwd=uri-miss",
    CacheStatus.BYPASS: b"signalbox; fwd=bypass",
    CacheStatus.COALESCED: b"signalbox; fwd=uri-miss; collapsed",
}
ROUTES = {operation: f"/v1/{operation}" for operation in Operation}


async def exchange(operation: Operation, scope: HTTPScope, receive: Receive, send: Send) -> None:
    door: Door = scope["litestar_app"].state.door
    started = time.perf_counter()
    request_id = door.request_id(scope["headers"])
    tell_request_id(scope, request_id)
    task = asyncio.current_task()
    assert task is not None
    presence = Presence(task)
    status, word = CallerGoneError.status_code, ""
    try:
        try:
            request, reply = await _ask(operation, door, scope, receive, request_id=request_id, presence=presence)
        except Exception as exc:  # noqa: BLE001 - rendered, as the exception handlers would
            error = as_gateway_error(exc)
            status, word = error.status_code, error.word
            headers, body = error_answer(error)
            # the traceback holds this frame, and with it the body: megabytes until the next collection
            error.__traceback__ = error.__cause__ = error.__context__ = None
            del error
            await send_whole(send, status, [(b"x-request-id", request_id.encode()), *headers], body)
        else:
            status = 200
            await _tell(send, request, reply, _headers(reply, request_id, started))
    except asyncio.CancelledError:
        if not presence.left:
            raise
    finally:
        door.answered(scope["method"], ROUTES[operation], status, word=word)


async def _ask(  # noqa: PLR0913 - the parts of an ASGI exchange, and who asks
    operation: Operation, door: Door, scope: HTTPScope, receive: Receive, *, request_id: str, presence: Presence
) -> tuple[LLMRequest, Reply]:
    try:
        headers = _headers_of(scope)
        caller = door.admit(scope, headers)
        request = LLMRequest.parse(operation, await door.body(scope, receive))
        controls = controls_of(headers, request)
    except Exception as exc:
        error = as_gateway_error(exc)
        door.refused(route=ROUTES[operation], status=error.status_code, word=error.word, request_id=request_id)
        raise
    when_caller_leaves(scope, presence.leave)
    reply = await door.llm.run(request, caller=caller, request_id=request_id, presence=presence, controls=controls)
    return request, reply


def _headers_of(scope: HTTPScope) -> dict[bytes, bytes]:
    """The last of each name, but `Cache-Control` in whole."""
    sent = scope["headers"]
    headers = dict(sent)
    if b"cache-control" in headers:
        headers[b"cache-control"] = b",".join(value for name, value in sent if name == b"cache-control")
    return headers


async def _tell(send: Send, request: LLMRequest, reply: Reply, headers: Headers) -> None:
    if isinstance(reply.body, bytes):
        await send_whole(send, 200, [_JSON, *headers], reply.body)
    else:
        await send_stream(send, [*_STREAM, *headers], as_sse(reply.body, with_usage=request.usage_wanted))


def _headers(reply: Reply, request_id: str, started: float) -> Headers:
    cache = reply.cache
    total = (time.perf_counter() - started) * 1000
    headers = [
        (b"x-request-id", request_id.encode()),
        (b"x-signalbox-provider", reply.provider.encode()),
        (b"x-signalbox-model", reply.model.encode("ascii", "replace")),
        (b"x-signalbox-cache", cache.encode()),
        (b"server-timing", b"upstream;dur=%.1f, total;dur=%.1f" % (reply.seconds_upstream * 1000, total)),
    ]
    if reply.attempts:
        headers.append((b"x-signalbox-attempts", reply.attempts.encode()))
    if cache is CacheStatus.HIT:
        headers.append((b"cache-status", b"signalbox; hit; ttl=%d" % max(reply.ttl or 0, 0)))
        headers.append((b"age", b"%d" % (reply.age or 0)))
    else:
        headers.append((b"cache-status", _CACHE_STATUS[cache]))
    if isinstance(reply.body, bytes):
        if cache is CacheStatus.HIT or cache is CacheStatus.COALESCED:
            headers.append((b"x-signalbox-cost", b"0"))
        elif reply.usage.cost_nano_usd is not None:
            headers.append((b"x-signalbox-cost", b"%.9f" % (reply.usage.cost_nano_usd / 1e9)))
    return headers
