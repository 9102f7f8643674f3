"""Who may use a route: each declares it, and a guard enforces it for all but the hot ones, which do it themselves."""

from enum import StrEnum

from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.routes import HTTPRoute

from app.controllers.door import Door
from app.domain.errors import UNKNOWN_KEY, AuthenticationError


class Policy(StrEnum):
    INFERENCE = "inference"
    """Any key, where keys are configured."""
    METRICS = "metrics"
    """Open while only this machine is listening; else any key, or the one for metrics."""
    OPEN = "open"
    """Everybody; the answer says nothing that needs a key."""


async def enforce(connection: ASGIConnection, handler: BaseRouteHandler) -> None:
    if handler.opt.get("hot"):
        return
    door: Door = connection.app.state.door
    headers = dict(connection.scope["headers"])
    door.check_visitor(connection.scope["headers"], headers)
    match handler.opt["policy"]:
        case Policy.INFERENCE:
            door.authenticate(headers)
        case Policy.METRICS:
            given = headers.get(b"authorization", b""), headers.get(b"x-api-key", b"")
            if not (connection.app.state.metrics_open or door.keys.may_read_metrics(*given)):
                raise AuthenticationError(UNKNOWN_KEY)


def check_declared(app: Litestar) -> None:
    """Stops the start for a route nobody has decided about."""
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            handlers: list[BaseRouteHandler] = [
                each for each in route.route_handlers if each.http_methods != {"OPTIONS"}
            ]
        else:
            handlers = [route.route_handler]
        for handler in handlers:
            if handler.opt.get("policy") not in set(Policy):
                raise RuntimeError(f"the route {route.path} declares no policy")
