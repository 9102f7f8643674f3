"""A provider that is a gateway of another make: calls go through both, and an error keeps its meaning."""

import json
from collections.abc import Iterator

import pytest

from tests.e2e.clients.support import PORTKEY, missing, portkey_process
from tests.e2e.conftest import PROVIDER_KEY
from tests.support.processes import GatewayProcess, ProviderProcess, answer, event, gateway_process, stream

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(missing(PORTKEY)), reason=missing(PORTKEY))]

REFUSED = {"error": {"message": "too hot", "type": "invalid_request_error", "param": "temperature", "code": "range"}}
SLOW_DOWN = {"error": {"message": "slow down", "type": "requests", "param": None, "code": "rate_limit_exceeded"}}
BOOM = {"error": {"message": "boom", "type": "server_error", "param": None, "code": None}}


@pytest.fixture(scope="module")
def outer(provider: ProviderProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway with two rows: `portkey`, which asks the scripted provider through Portkey, and `direct`."""
    with portkey_process(tmp_path_factory.mktemp("portkey")) as url:
        through = {
            "base_url": f"{url}/v1",
            "api_key": PROVIDER_KEY,
            "headers": {"x-portkey-provider": "openai", "x-portkey-custom-host": provider.base_url("far")},
        }
        config = {
            "providers": {
                "portkey": through,
                "direct": {"base_url": provider.base_url("near"), "prefix_only": True},
            },
            "routes": {"either": ["portkey:either-far", "direct:either-near"]},
            "retry": {"max_retries": 0},
            "breaker": {"failures": 0},
        }
        with gateway_process(tmp_path_factory.mktemp("outer"), config) as process:
            yield process


def test_a_chat_goes_through_both(outer: GatewayProcess, provider: ProviderProcess, model: str) -> None:
    response = outer.chat(f"portkey/{model}", temperature=0.1)

    assert response.status_code == 200
    assert response.json()["choices"][0]["message"]["content"] == "Hello there."
    assert response.json()["x_unknown"] == {"kept": True}
    assert response.headers["x-signalbox-attempts"] == "portkey:ok"
    assert provider.bodies(model)[0]["temperature"] == 0.1
    (request,) = provider.seen(model)["requests"]
    assert request["path"] == "/far/v1/chat/completions"
    assert request["headers"]["authorization"] == f"Bearer {PROVIDER_KEY}"


def test_tool_calls_come_back_through_both(outer: GatewayProcess, model: str) -> None:
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]

    response = outer.chat(f"portkey/{model}", tools=tools)

    (call,) = response.json()["choices"][0]["message"]["tool_calls"]
    assert call["function"] == {"name": "weather", "arguments": '{"city":"Oslo"}'}


def test_embeddings_go_through_both(outer: GatewayProcess, model: str) -> None:
    response = outer.client.post("/v1/embeddings", json={"model": f"portkey/{model}", "input": ["one", "two"]})

    assert [each["embedding"] for each in response.json()["data"]] == [[0.5, -0.25]] * 2


def test_a_completion_goes_through_both(outer: GatewayProcess, model: str) -> None:
    response = outer.client.post("/v1/completions", json={"model": f"portkey/{model}", "prompt": "Once"})

    assert response.json()["choices"][0]["text"] == "Hello there."


def test_models_of_the_second_gateway_are_listed_and_found(outer: GatewayProcess) -> None:
    listed = outer.client.get("/v1/models").json()["data"]
    response = outer.chat("far-model")

    assert "far-model" in [each["id"] for each in listed]
    assert response.headers["x-signalbox-provider"] == "portkey"


def test_a_stream_goes_through_both(outer: GatewayProcess, model: str) -> None:
    response = outer.chat(f"portkey/{model}", stream=True)

    *chunks, done = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert done == "[DONE]"
    deltas = [json.loads(each)["choices"][0]["delta"] for each in chunks]
    assert "".join(delta.get("content", "") for delta in deltas) == "Hello there."
    (line,) = outer.log_of(response.headers["x-request-id"])
    assert (line["status"], line["prompt_tokens"], line["completion_tokens"]) == ("ok", 7, 3)


def test_a_stream_the_second_gateway_ends_as_if_it_were_whole_is_truncated_all_the_same(
    outer: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    provider.script(model, stream(event("Hel"), {"abort": True}, end=False))

    response = outer.chat(f"portkey/{model}", stream=True)

    first, last = [json.loads(line.removeprefix("data: ")) for line in response.text.split("\n\n") if line]
    assert first["choices"][0]["delta"]["content"] == "Hel"
    assert last["error"]["code"] == "upstream_truncated"


@pytest.mark.parametrize("how", [{}, {"stream": True}], ids=["whole", "streamed"])
def test_a_busy_provider_behind_the_second_gateway_is_told_with_its_wait(
    outer: GatewayProcess, provider: ProviderProcess, model: str, how: dict[str, bool]
) -> None:
    provider.script(model, answer(SLOW_DOWN, status="429 Too Many Requests", headers={"retry-after": "7"}))

    response = outer.chat(f"portkey/{model}", **how)

    assert response.status_code == 429
    assert response.headers["retry-after"] == "7"
    assert response.headers["x-signalbox-error"] == "upstream_rate_limited"
    assert "slow down" in response.json()["error"]["message"]


@pytest.mark.parametrize("how", [{}, {"stream": True}], ids=["whole", "streamed"])
@pytest.mark.parametrize("status", ["500 Internal Server Error", "503 Service Unavailable"])
def test_a_failing_provider_behind_the_second_gateway_is_an_upstream_error(
    outer: GatewayProcess, provider: ProviderProcess, model: str, status: str, how: dict[str, bool]
) -> None:
    provider.script(model, answer(BOOM, status=status))

    response = outer.chat(f"portkey/{model}", **how)

    assert response.status_code == 502
    assert response.headers["x-signalbox-attempts"] == "portkey:upstream_error"
    assert "boom" in response.json()["error"]["message"]


def test_what_the_provider_refuses_comes_back_in_its_own_words(
    outer: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    provider.script(model, answer(REFUSED, status="400 Bad Request"))

    response = outer.chat(f"portkey/{model}")

    error = response.json()["error"]
    assert response.status_code == 400
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", "temperature", "range")
    assert "too hot" in error["message"]


def test_where_the_second_gateway_fails_another_provider_is_asked(
    outer: GatewayProcess, provider: ProviderProcess
) -> None:
    provider.script("either-far", answer(BOOM, status="500 Internal Server Error"))

    response = outer.chat("either")

    assert response.status_code == 200
    assert response.headers["x-signalbox-attempts"] == "portkey:upstream_error,direct:ok"
