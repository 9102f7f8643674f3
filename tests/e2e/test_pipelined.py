"""Requests that come before the answer to the last one: each is answered in its turn, or not at all."""

import base64
import time

import pytest

from tests.support.processes import GatewayProcess, ProviderProcess, answer, send
from tests.support.provider_faults import HANG, eventually
from tests.support.raw import Wire, head, request

pytestmark = pytest.mark.e2e

GOOD = {"choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}]}


def body_of(model: str) -> bytes:
    return b'{"model":"primary/%b","messages":[]}' % model.encode()


@pytest.mark.parametrize("behind", ["half a head", "a whole request"])
def test_a_caller_who_leaves_is_noticed_though_more_came_behind(
    gateway: GatewayProcess, provider: ProviderProcess, model: str, behind: str
) -> None:
    provider.script(model, [HANG])
    with Wire(gateway.port) as wire:
        wire.send(request(gateway.port, body_of(model)))
        eventually(lambda: provider.seen(model)["requests"], "the provider was asked")
        half = head(gateway.port)[:40]
        wire.send(half if behind == "half a head" else request(gateway.port, body_of(model)))
        time.sleep(0.1)

    eventually(lambda: provider.seen(model)["left"], "the upstream call was ended")
    eventually(lambda: gateway.metric("llm_active_requests", provider="primary") == 0, "nothing is active")


def test_a_late_request_does_not_take_the_place_of_the_answer_before_it(
    gateway: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    whole = answer(GOOD)[0]["send"]
    data = base64.b64decode(whole)
    cuts = [data[:-30], data[-30:-20], data[-20:-10], data[-10:]]
    slowly = [step for piece in cuts for step in (send(piece), {"sleep": 0.8})]  # longer than a body may take
    provider.script(model, slowly)
    with Wire(gateway.port) as wire:
        wire.send(request(gateway.port, body_of(model)) + head(gateway.port, "Content-Length: 50"))

        assert wire.answer().status_code == 200
        late = wire.answer()
        assert (late.status_code, late.headers["x-signalbox-error"]) == (408, "request_timeout")


def test_an_answer_before_the_end_of_its_request_is_not_followed_by_another(gateway: GatewayProcess) -> None:
    with Wire(gateway.port) as wire:
        wire.send(head(gateway.port, "Content-Length: 50", method="GET"))

        assert wire.answer().status_code == 405
        assert wire.is_closed()


def test_a_request_that_comes_too_late_keeps_its_id(gateway: GatewayProcess) -> None:
    with Wire(gateway.port) as wire:
        wire.send(head(gateway.port, "Content-Length: 50", "X-Request-Id: mine-408"))
        late = wire.answer()

    assert (late.status_code, late.headers["x-request-id"]) == (408, "mine-408")
    (line,) = gateway.log_of("mine-408")
    assert line["status"] == "request_timeout"
