"""One container in the place of another: what goes on, and what must not be mixed up."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from app.container import Container, hand_over, successor
from app.domain.errors import GatewayError
from app.life import Life
from app.main import create_server
from app.plugin import ContainerPlugin
from app.reload import Reloader
from app.settings import Loaded, Settings
from tests.support.calls import call_for

BODY = b'{"model":"one/m","messages":[]}'


def settings(**sections: Any) -> Settings:
    return msgspec.convert(sections, Settings, strict=False, dec_hook=lambda kind, value: kind(value))


def at(address: str, **more: Any) -> Mapping[str, Any]:
    rows = {"one": {"base_url": address, "models": ["m"]}}
    return {"providers": rows, "breaker": {"failures": 1}, "retry": {"max_retries": 0}} | more


async def test_a_call_of_before_tells_nothing_of_who_has_the_name_now() -> None:
    before = Container(settings=settings(**at("http://127.0.0.1:1/v1")))
    dispatch = before.services.dispatch()
    after = successor(before, settings(**at("http://127.0.0.1:2/v1")))
    hand_over(before, after)

    with pytest.raises(GatewayError, match=r".+"):
        await dispatch(call_for(BODY))

    standings = after.upstream.standings()
    assert not standings.of("one").known
    assert not standings.troubled
    assert standings.of("one") is not before.services.dispatch()._standings.of("one")  # noqa: SLF001 - the other one


async def test_a_call_of_before_tells_of_who_stays() -> None:
    before = Container(settings=settings(**at("http://127.0.0.1:1/v1")))
    dispatch = before.services.dispatch()
    after = successor(before, settings(**at("http://127.0.0.1:1/v1", routes={"new": ["one:m"]})))
    hand_over(before, after)

    with pytest.raises(GatewayError, match=r".+"):
        await dispatch(call_for(BODY))

    assert after.upstream.standings().of("one").known


@pytest.mark.parametrize("stops", [False, True])
async def test_a_stop_gives_up_the_reload_under_way(*, stops: bool) -> None:
    container = Container(settings=settings(**at("http://127.0.0.1:1/v1")))
    application = create_server(container)
    application.app.plugins.get(ContainerPlugin).build(application.app)
    life = application.app.state.life = Life(container)
    life.begin()

    def read() -> Loaded:
        if stops:
            reloader.stop()
        return Loaded(settings(**at("http://127.0.0.1:2/v1")), {}, [], None)

    reloader = Reloader(application, None, Loaded(container.settings(), {}, [], None), read)
    await reloader.reload("a test")
    after = life.container
    await life.end()

    assert (after is container) is stops
