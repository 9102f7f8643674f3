"""Beyond its own machine the gateway listens only with keys, or for who insists, and shows nobody else its insides."""

from pathlib import Path

import pytest

from tests.e2e.conftest import EVERYWHERE, KEY
from tests.support.failures import AUTHENTICATION, check_refusal
from tests.support.processes import GatewayProcess, gateway_process

pytestmark = pytest.mark.e2e


def test_who_insists_is_served_without_keys(directory: Path) -> None:
    arguments = (*EVERYWHERE, "--insecure-allow-unauthenticated")

    with gateway_process(directory, arguments=arguments) as gateway:
        ours, foreign = gateway.chat("demo"), gateway.chat("demo", headers={"host": "gateway.test"})

    assert (ours.status_code, foreign.status_code) == (200, 200)


def test_with_a_key_it_serves_who_holds_it(exposed: GatewayProcess) -> None:
    refused = exposed.chat("demo")
    served = exposed.chat("demo", headers={"authorization": f"Bearer {KEY}"})

    check_refusal(refused, AUTHENTICATION)
    assert served.status_code == 200


def test_details_of_health_are_not_public_there(exposed: GatewayProcess) -> None:
    public = exposed.client.get("/health")
    full = exposed.client.get("/health", headers={"x-api-key": KEY})

    assert public.json().keys() == {"status", "timestamp"}
    assert "version" in full.json()
