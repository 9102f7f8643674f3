"""No route without somebody having decided who may use it."""

from typing import Any

import pytest
from litestar import Litestar, asgi, get, route
from litestar.types import Receive, Scope, Send

from app.controllers.policies import Policy, check_declared


def app(*handlers: Any) -> Litestar:
    return Litestar(route_handlers=handlers, openapi_config=None, logging_config=None)


@get("/decided", opt={"policy": Policy.OPEN}, sync_to_thread=False)
def decided() -> str:
    return ""


@get("/forgotten", sync_to_thread=False)
def forgotten() -> str:
    return ""


@get("/odd", opt={"policy": "whoever"}, sync_to_thread=False)
def odd() -> str:
    return ""


@route("/decided", http_method=["POST"], sync_to_thread=False)
def forgotten_method() -> str:
    return ""


@asgi("/raw", copy_scope=False)
async def raw(scope: Scope, receive: Receive, send: Send) -> None:
    return


@asgi("/raw", copy_scope=False, opt={"policy": Policy.INFERENCE, "hot": True})
async def raw_and_decided(scope: Scope, receive: Receive, send: Send) -> None:
    return


@pytest.mark.parametrize(
    ("handler", "path"), [(forgotten, "/forgotten"), (odd, "/odd"), (forgotten_method, "/decided"), (raw, "/raw")]
)
def test_a_route_nobody_has_decided_about_stops_the_start(handler: Any, path: str) -> None:
    with pytest.raises(RuntimeError, match=f"the route {path} declares no policy"):
        check_declared(app(decided, handler))


def test_what_is_decided_starts_and_options_of_the_frameworks_own_need_no_decision() -> None:
    made = app(decided, raw_and_decided)

    check_declared(made)

    assert any("OPTIONS" in each.methods for each in made.routes if hasattr(each, "methods"))
