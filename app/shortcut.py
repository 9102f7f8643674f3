"""The outermost layer: hot routes by a direct way, and for all others what Litestar's middleware does not see.

A hot route is Litestar's, declared and documented like any other; only the way to it is shorter. Its handler refuses,
renders, names and counts by itself, so of Litestar's routing (8 µs a request) it needs nothing. The answers of
other routes get their request id here and are counted here, 404 and 405 among them.
"""

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import msgspec
from litestar import Litestar
from litestar.routes import ASGIRoute

from app.controllers import ASIDE, Listener, Policy, paths_of, spelled
from app.controllers.door import REQUEST_ID, Door, send_whole, served_by
from app.controllers.errors import headers_for
from app.domain.errors import GatewayError, NotFoundError
from app.domain.passage import Passage

Handler = Callable[..., Awaitable[None]]

UNMATCHED = "unmatched"


class Shortcut:
    """`aliases` has for the operator's own paths those that answer there."""

    def __init__(self, app: Litestar, *, aliases: Mapping[str, str]) -> None:
        self._door: Door | None = None  # it is built when the application starts
        self._learn(app, aliases)

    def _learn(self, app: Litestar, aliases: Mapping[str, str]) -> None:
        self._app = app
        self.aliases = aliases
        self._cors = app.cors_config is not None
        self._hot = dict(self._hot_routes(app))
        # Litestar gives no template to an answer of 405
        self._plain = {route.path: route.path for route in app.routes if "{" not in route.path}

    @property
    def app(self) -> Litestar:
        return self._app

    def become(self, after: "Shortcut") -> None:
        """Be as `after` from the next request on; the door stays, for it knows who is inside."""
        self._learn(after.app, after.aliases)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if (door := self._door) is None:
            door = self._door = self._app.state.door
        door.in_flight += 1
        try:
            if (answer := self._hot.get(scope["path"])) is None or scope["method"] == "OPTIONS":
                await self._walk(door, scope, receive, send)
            else:
                scope["litestar_app"] = self._app
                scope["signalbox.door"] = door
                await answer(scope, receive, send)
        finally:
            door.in_flight -= 1

    def aside(self) -> "Shortcut":
        """The same application with its metrics and nothing else, for a listener of their own."""
        return Aside(self._app, aliases=self.aliases)

    async def _walk(self, door: Door, scope: Any, receive: Any, send: Any) -> None:
        begun = time.perf_counter()
        if known := self.aliases.get(scope["path"].rstrip("/")):
            scope = {**scope, "path": known}
        served = served_by(scope)
        passage = Passage(begun if served is None else served.arrived, begun, UNMATCHED, scope["method"])
        request_id = door.request_id(dict(scope["headers"]).get(REQUEST_ID), served)
        if served is not None:
            served.request_id = request_id
        scope.setdefault("state", {})["request_id"] = request_id

        async def named(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = list(message["headers"])
                if not any(name == REQUEST_ID for name, _ in headers):  # a hot route has done it all itself
                    self._sign(passage, scope, message["status"], headers, request_id)
                message = {**message, "headers": headers}
            elif passage.status:
                passage.bytes_out += len(message.get("body", b""))
            await send(message)

        try:
            await self._answer(door, scope, receive, named)
        finally:
            if passage.status:
                door.passed(passage)

    async def _answer(self, door: Door, scope: Any, receive: Any, send: Any) -> None:
        """Paths and methods that nobody answers never come by a guard, so visitors are checked here already."""
        state = self._app.state
        listener: Listener = state.aside if ASIDE in scope else state.listener
        try:
            door.check_visitor(scope["headers"], dict(scope["headers"]), listener.visitors)
        except GatewayError as error:
            await _spell(error, scope, send)
        else:
            await self._app(scope, receive, send)

    def _sign(
        self, passage: Passage, scope: Any, status: int, headers: list[tuple[bytes, bytes]], request_id: str
    ) -> None:
        """Complete the head of an answer, and note of it what is counted."""
        served = served_by(scope)
        if served is not None and served.refusal is not None:  # it came too late: the server has said something else
            status = served.refusal.status_code
            headers.append((b"x-signalbox-error", served.refusal.word.encode()))
        passage.status = status
        passage.route = scope.get("path_template") or self._plain.get(scope["path"], UNMATCHED)
        passage.word = next((value.decode() for name, value in headers if name == b"x-signalbox-error"), "")
        seconds = time.perf_counter() - passage.arrived
        headers += [(REQUEST_ID, request_id.encode()), (b"server-timing", b"total;dur=%.3f" % (seconds * 1000))]
        if passage.word:
            door: Door = self._app.state.door
            client = scope.get("client")
            door.refused(route=passage.route, status=status, word=passage.word, request_id=request_id, client=client)

    def _hot_routes(self, app: Litestar) -> Iterator[tuple[str, Handler]]:
        for route in app.routes:
            if isinstance(route, ASGIRoute) and (hot := route.route_handler.opt.get("hot")):
                yield route.path, app if self._cors else hot  # Litestar adds the headers that a browser wants


class Aside(Shortcut):
    def __init__(self, app: Litestar, *, aliases: Mapping[str, str]) -> None:
        super().__init__(app, aliases=aliases)

    def _learn(self, app: Litestar, aliases: Mapping[str, str]) -> None:
        super()._learn(app, aliases)
        self._hot = {}
        self._plain = {path: path for path in paths_of(app, Policy.METRICS)}

    async def _answer(self, door: Door, scope: Any, receive: Any, send: Any) -> None:
        scope[ASIDE] = True
        if (scope["path"].rstrip("/") or "/") in self._plain:
            await super()._answer(door, scope, receive, send)
            return
        await _spell(NotFoundError("only metrics are served at this address"), scope, send)


async def _spell(error: GatewayError, scope: Any, send: Any) -> None:
    """Answer `error` as the dialect of the path has it."""
    body, media_type = spelled(error, scope["path"], scope["state"]["request_id"])
    headers = [(name.encode(), value.encode()) for name, value in headers_for(error).items()]
    headers.append((b"content-type", media_type.encode()))
    await send_whole(send, error.status_code, headers, msgspec.json.encode(body))
