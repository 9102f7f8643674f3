"""The outermost layer: hot routes by a direct way, and for all others what Litestar's middleware does not see.

A hot route is Litestar's, declared and documented like any other; only the way to it is shorter. Its handler refuses,
renders, names and counts by itself, so of Litestar's routing (8 µs a request) it needs nothing. The answers of
other routes get their request id here and are counted here, 404 and 405 among them.
"""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from litestar import Litestar
from litestar.routes import ASGIRoute

from app.controllers.door import REQUEST_ID, Door, send_whole
from app.controllers.openai.errors import error_answer
from app.domain.errors import GatewayError

Handler = Callable[..., Awaitable[None]]

UNMATCHED = "unmatched"


class Shortcut:
    def __init__(self, app: Litestar) -> None:
        self._app = app
        self._door: Door | None = None  # it is built when the application starts
        self._cors = app.cors_config is not None
        self._hot = dict(self._hot_routes(app))
        # Litestar gives no template to an answer of 405
        self._plain = {route.path: route.path for route in app.routes if "{" not in route.path}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif (answer := self._hot.get(scope["path"])) is None or scope["method"] == "OPTIONS":
            await self._walk(scope, receive, send)
        else:
            scope["litestar_app"] = self._app
            if self._door is None:
                self._door = self._app.state.door
            scope["signalbox.door"] = self._door
            await answer(scope, receive, send)

    async def _walk(self, scope: Any, receive: Any, send: Any) -> None:
        door: Door = self._app.state.door
        request_id = door.request_id(dict(scope["headers"]).get(REQUEST_ID))
        scope.setdefault("state", {})["request_id"] = request_id

        async def named(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = list(message["headers"])
                if not any(name == REQUEST_ID for name, _ in headers):  # a hot route has done it all itself
                    headers.append((REQUEST_ID, request_id.encode()))
                    route = scope.get("path_template") or self._plain.get(scope["path"], UNMATCHED)
                    word = next((value.decode() for name, value in headers if name == b"x-signalbox-error"), "")
                    door.answered(scope["method"], route, message["status"], word=word)
                    if word:
                        door.refused(route=route, status=message["status"], word=word, request_id=request_id)
                message = {**message, "headers": headers}
            await send(message)

        if self._cors and scope["method"] == "OPTIONS":
            try:
                door.visitors.check(scope["headers"], dict(scope["headers"]))
            except GatewayError as error:  # Litestar would say 400, and in nobody's dialect
                await send_whole(named, error.status_code, *error_answer(error))
                return
        await self._app(scope, receive, named)

    def _hot_routes(self, app: Litestar) -> Iterator[tuple[str, Handler]]:
        for route in app.routes:
            if isinstance(route, ASGIRoute) and (hot := route.route_handler.opt.get("hot")):
                yield route.path, app if self._cors else hot  # Litestar adds the headers that a browser wants
