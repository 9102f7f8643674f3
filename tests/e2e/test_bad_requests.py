"""Where the limit of bodies is; what else is wrong with them is in tests/faults/test_bodies.py."""

import pytest

from tests.support.failures import (
    CHAT,
    TOO_LARGE,
    check_refusal,
    counted,
    question,
)
from tests.support.processes import GatewayProcess, ProviderProcess
from tests.support.raw import Wire, head

pytestmark = pytest.mark.e2e

LIMIT = 1_000_000


def test_a_body_as_large_as_the_limit_is_taken(gateway: GatewayProcess, provider: ProviderProcess, model: str) -> None:
    body = question(f"primary/{model}", user="")
    padded = body.replace(b'"user": ""', b'"user": "%b"' % (b"x" * (LIMIT - len(body))))

    response = gateway.client.post(CHAT, content=padded)

    assert (len(padded), response.status_code) == (LIMIT, 200)
    assert len(provider.bodies(model)[0]["user"]) == LIMIT - len(body)


def test_a_body_over_the_limit_is_refused_by_its_length(gateway: GatewayProcess) -> None:
    with counted(gateway, TOO_LARGE), Wire(gateway.port) as wire:
        wire.send(head(gateway.port, f"Content-Length: {LIMIT + 1}", "Expect: 100-continue"))
        response = wire.answer()

    check_refusal(response, TOO_LARGE)
