"""Methods that nobody answers, tunnels, and offers of another protocol."""

from collections.abc import Iterator

import pytest

from tests.support.failures import CHAT, METHOD_NOT_ALLOWED, check_refusal, counted, question
from tests.support.processes import GatewayProcess, gateway_process
from tests.support.provider_faults import eventually
from tests.support.raw import Wire, request

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with gateway_process(tmp_path_factory.mktemp("methods")) as process:
        yield process


@pytest.mark.parametrize(
    ("method", "path", "label", "allow"),
    [
        ("GET", CHAT, "GET", {"POST"}),
        ("PUT", CHAT, "PUT", {"POST"}),
        ("TRACE", CHAT, "other", {"POST"}),
        ("DELETE", "/v1/models", "DELETE", {"GET"}),
        ("TRACE", "/v1/models", "other", {"GET"}),
        ("PUT", "/health", "PUT", {"GET", "HEAD"}),
    ],
)
def test_H_13_a_method_that_nobody_answers(
    gateway: GatewayProcess, method: str, path: str, label: str, allow: set[str]
) -> None:
    """`TRACE`, `PUT`, `DELETE` where they are not answered.

    Happens: 405, and `allow` says which would be.

    Seen: `http_requests_total` with that method (`other` for odd ones), route and status.
    """
    with counted(gateway, METHOD_NOT_ALLOWED, method=label, route=path):
        response = gateway.client.request(method, path)

    check_refusal(response, METHOD_NOT_ALLOWED)
    assert set(response.headers["allow"].replace(" ", "").split(",")) >= allow


@pytest.mark.parametrize("target", ["evil.test:443", "127.0.0.1:1", "localhost:80"])
def test_H_13_a_tunnel(gateway: GatewayProcess, target: str) -> None:
    """`CONNECT`.

    Happens: 405 and the connection ends; nothing is connected to.

    Seen: `http_requests_total{route="unread",status="405"}`.
    """
    with counted(gateway, METHOD_NOT_ALLOWED, method=None), Wire(gateway.port) as wire:
        wire.send(b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (target.encode(), target.encode()))
        response = wire.answer()

        assert wire.is_closed()
    check_refusal(response, METHOD_NOT_ALLOWED)
    assert response.headers["allow"]


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
@pytest.mark.parametrize("at_once", [True, False], ids=["at-once", "split"])
def test_H_15_an_offer_of_another_protocol(gateway: GatewayProcess, protocol: str, *, at_once: bool) -> None:
    """`Upgrade: websocket` or `h2c`.

    Happens: it is passed over, and the request answered as ever.

    Seen: nowhere but in the count of the route.
    """
    # the Java HTTP client offers h2c with every first request, its body behind it
    offer = "Connection: Upgrade, HTTP2-Settings", f"Upgrade: {protocol}", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"
    whole = request(gateway.port, question("demo"), *offer)
    before = gateway.metric("http_connections")

    with Wire(gateway.port) as wire:
        cut = len(whole) if at_once else whole.index(b"pgrade: ")
        wire.send(whole[:cut])
        wire.has_answer(within=0.2)
        wire.send(whole[cut:])
        response = wire.answer()

    assert response.status_code == 200
    assert before > 0
    eventually(lambda: gateway.metric("http_connections") <= before, "its connection is gone")
