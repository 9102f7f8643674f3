"""Who may use a route: each declares it, and a guard enforces it for all but the hot ones, which do it themselves."""

from enum import StrEnum
from typing import NamedTuple

from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.routes import HTTPRoute

from app.controllers.door import Door
from app.controllers.visitors import Visitors, calls_us_local

ASIDE = "signalbox.aside"
"""In the scope of a request that came where only metrics are served."""


class Listener(NamedTuple):
    """Who may come by one of the addresses we listen on."""

    visitors: Visitors
    local: bool
    """Only this machine reaches it; which does not say that nobody else sent the request, see `is_local`."""

    def is_local(self, headers: dict[bytes, bytes]) -> bool:
        """Whether a request is this machine's own: a browser here may ask for a page of elsewhere, a proxy for anybody.

        Both name the host they were told, so what is open to this machine takes a loopback name too.
        """
        return self.local and calls_us_local(headers)


class Policy(StrEnum):
    INFERENCE = "inference"
    """Any key, where keys are configured."""
    METRICS = "metrics"
    """Open to this machine where only it is listened to; else any key, or the one for metrics."""
    OPEN = "open"
    """Everybody; the answer says nothing that needs a key."""


async def enforce(connection: ASGIConnection, handler: BaseRouteHandler) -> None:
    if handler.opt.get("hot"):
        return
    state = connection.app.state
    door: Door = state.door
    listener: Listener = state.aside if ASIDE in connection.scope else state.listener
    headers = dict(connection.scope["headers"])
    door.check_visitor(connection.scope["headers"], headers, listener.visitors)
    match handler.opt["policy"]:
        case Policy.INFERENCE:
            door.check_room()
            door.authenticate(headers, connection.scope.get("client"))
        case Policy.METRICS:
            if not (state.metrics_public or listener.is_local(headers)):
                door.authenticate_scraper(headers, connection.scope.get("client"))


def paths_of(app: Litestar, policy: Policy) -> set[str]:
    """Every path that has a handler with this policy."""
    return {
        route.path
        for route in app.routes
        if isinstance(route, HTTPRoute) and any(each.opt.get("policy") == policy for each in route.route_handlers)
    }


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
