"""One exchange on a hot route, without Litestar's handler machinery: it is most of what we do."""

import asyncio
import time
from collections.abc import AsyncGenerator

from litestar.types import HTTPScope, Receive, Send

from app.controllers.cache_controls import controls_of
from app.controllers.door import REQUEST_ID, Door, Headers, ServerSide, door_of, send_whole, served_by
from app.controllers.errors import as_gateway_error
from app.controllers.openai.errors import error_answer
from app.controllers.openai.head import headers_in, lines_of, timing_of, traced
from app.controllers.openai.sse import send_events
from app.domain.controls import CacheControls
from app.domain.errors import CallerGoneError, GatewayError
from app.domain.llm import LLMRequest, Operation
from app.domain.passage import Passage
from app.domain.principal import Principal
from app.services.presence import Presence

ROUTES = {operation: f"/v1/{operation}" for operation in Operation}


async def exchange(operation: Operation, scope: HTTPScope, receive: Receive, send: Send) -> None:
    door = door_of(scope)
    begun = time.perf_counter()
    headers = dict(scope["headers"])
    served = served_by(scope)
    request_id = door.request_id(headers.get(REQUEST_ID), served)
    passage = Passage(begun if served is None else served.arrived, begun, ROUTES[operation], scope["method"])
    passage.trace = door.trace(headers, scope["headers"])
    task = asyncio.current_task() if served is None else served.task
    assert task is not None
    if served is not None:
        served.request_id = request_id
    presence = Presence(task)
    passage.status = CallerGoneError.status_code
    try:
        try:
            request, caller, controls = await _asked(
                operation, door, scope, receive, passage, served=served, headers=headers, request_id=request_id
            )
            if served is not None:
                served.leave = presence.leave
            reply = await door.llm.run(request, caller, request_id, presence, controls, passage)
        except Exception as exc:  # noqa: BLE001 - rendered, as the exception handlers would
            await send_whole(send, *_told(as_gateway_error(exc), request_id, passage))
        else:
            passage.status = 200
            lines = lines_of(reply, request_id=request_id, passage=passage)
            if isinstance(reply.body, bytes):
                passage.bytes_out = len(reply.body)
            await _tell(send, served, lines, reply.body, with_usage=request.usage_wanted)
    except asyncio.CancelledError:
        if not presence.left:
            raise
    finally:
        passage.left = presence.left or passage.status == CallerGoneError.status_code
        door.passed(passage)


def _told(error: GatewayError, request_id: str, passage: Passage) -> tuple[int, Headers, bytes]:
    """The answer of a failure."""
    passage.status, passage.word = error.status_code, error.word
    headers, body = error_answer(error)
    passage.bytes_out = len(body)
    # the traceback holds our caller's frame, and with it the body: megabytes until the next collection
    error.__traceback__ = error.__cause__ = error.__context__ = None
    own = [(b"x-request-id", request_id.encode()), (b"server-timing", timing_of(passage)), *traced(passage)]
    return error.status_code, [*own, *headers], body


async def _tell(
    send: Send, served: ServerSide | None, lines: bytes, body: bytes | AsyncGenerator[bytes, None], *, with_usage: bool
) -> None:
    """Past ASGI's messages where our own server is the one who sends, and nobody reads along."""
    ours = served if served is not None and send == served.send else None
    if not isinstance(body, bytes):
        push = _cannot if ours is None else ours.push
        await send_events(send, headers_in(lines), body, with_usage=with_usage, push=push)
    elif ours is None or not ours.answer(200, lines, body):
        await send_whole(send, 200, headers_in(lines), body)


async def _asked(  # noqa: PLR0913 - the parts of an ASGI exchange
    operation: Operation,
    door: Door,
    scope: HTTPScope,
    receive: Receive,
    passage: Passage,
    *,
    served: ServerSide | None,
    headers: dict[bytes, bytes],
    request_id: str,
) -> tuple[LLMRequest, Principal, CacheControls]:
    """What is asked, and by whom; what is refused here never becomes a call."""
    try:
        if b"cache-control" in headers:  # of other names the last one counts
            said = [value for name, value in scope["headers"] if name == b"cache-control"]
            headers[b"cache-control"] = b",".join(said)
        caller = door.admit(scope, headers)
        passage.admitted = time.perf_counter()
        here = None if served is None else served.whole_body()
        body = await door.body(scope, receive) if here is None else door.fitting(here)
        passage.received = time.perf_counter()
        passage.bytes_in = len(body)
        request = LLMRequest.parse(operation, body)
        controls = controls_of(headers, request)
        passage.parsed = time.perf_counter()
    except Exception as exc:  # noqa: BLE001 - told as one of ours
        passage.broke(time.perf_counter())
        error = as_gateway_error(exc)
        route, status = ROUTES[operation], error.status_code
        door.refused(
            route=route,
            status=status,
            word=error.word,
            request_id=request_id,
            client=scope.get("client"),
            trace=passage.trace,
        )
        raise error from None  # as it is told: what nobody foresaw has its line in the log
    else:
        return request, caller, controls


def _cannot(_: bytes) -> bool:
    return False
