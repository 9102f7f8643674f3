"""What tests of breakers share: how one stands, and what callers are told who are turned away."""

import time
from collections.abc import Callable
from typing import Any

import httpx

from tests.support.processes import PATIENCE_SECONDS, GatewayProcess, answer
from tests.support.provider_faults import eventually, refusal

GOOD = answer({"choices": [{"finish_reason": "stop", "message": {"content": "hi"}}], "model": "m"})
DOWN = refusal("500 Oops")


def state(gateway: GatewayProcess, name: str, scope: str = "model") -> float:
    return gateway.metric("llm_circuit_breaker_state", provider=name, scope=scope)


def turns(gateway: GatewayProcess, name: str, to: str, scope: str = "model") -> float:
    return gateway.metric("llm_circuit_breaker_transitions_total", provider=name, scope=scope, to=to)


def assert_left_alone(response: httpx.Response) -> None:
    """The caller is told that nobody is asked, and when to come back."""
    assert response.status_code == 503, response.text
    error = response.json()["error"]
    assert (error["type"], error["code"], error["param"]) == ("overloaded_error", "no_target", None)
    assert response.headers["x-signalbox-error"] == "no_target"
    assert int(response.headers["retry-after"]) >= 1
    assert "x-signalbox-attempts" not in response.headers


def check_of(gateway: GatewayProcess, name: str) -> dict[str, Any]:
    """What health says of a provider once it says that something is wrong; a report is kept for 2 s."""
    check: dict[str, Any] = {}

    def wrong() -> bool:
        check.update(gateway.client.get("/health").json()["checks"][f"provider:{name}"])
        return check["status"] != "healthy"

    eventually(wrong, "a report in which it is not healthy")
    return check


def tried_until(gateway: GatewayProcess, model: str, holds: Callable[[], object]) -> None:
    """Call until `holds`; who is turned away comes again."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        gateway.chat(model)
        time.sleep(0.01)
