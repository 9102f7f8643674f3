"""A provider that is a gateway of our own make: both speak the same words, and nothing is lost between them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.clients.support import CALLER_KEY, eventually
from tests.e2e.conftest import FAST
from tests.support.processes import GatewayProcess, ProviderProcess, answer, event, gateway_process, send, stream

pytestmark = pytest.mark.e2e

SLOWER = {name: seconds + 2 for name, seconds in FAST.items()}
REFUSED = {"error": {"message": "too hot", "type": "invalid_request_error", "param": "temperature", "code": "range"}}
TOO_LONG = {"error": {"message": "too long", "type": "invalid_request_error", "code": "context_length_exceeded"}}
SLOW_DOWN = {"error": {"message": "slow down", "type": "requests", "param": None, "code": "rate_limit_exceeded"}}
BOOM = {"error": {"message": "boom", "type": "server_error", "param": None, "code": None}}
WHOLE_OR_STREAMED = pytest.mark.parametrize("how", [{}, {"stream": True}], ids=["whole", "streamed"])


@pytest.fixture(scope="module")
def outer(keyed: GatewayProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway whose only providers are the gateway `keyed`, once with its key and once with a wrong one."""
    rows = {
        name: {"base_url": f"{keyed.url}/v1", "api_key": key, "timeouts": SLOWER, "prefix_only": True}
        for name, key in (("inner", CALLER_KEY), ("stranger", "sk-wrong"))
    }
    config = {"providers": rows, "retry": {"max_retries": 0}, "breaker": {"failures": 0}}
    with gateway_process(tmp_path_factory.mktemp("outer"), config) as process:
        yield process


def test_a_chat_goes_through_both(outer: GatewayProcess, provider: ProviderProcess, model: str) -> None:
    response = outer.chat(f"inner/primary/{model}", x_unknown=[1])

    assert response.status_code == 200
    assert response.json()["choices"][0]["message"]["content"] == "Hello there."
    assert response.json()["x_unknown"] == {"kept": True}
    assert response.headers["x-signalbox-attempts"] == "inner:ok"
    assert provider.bodies(model)[0]["x_unknown"] == [1]


def test_embeddings_go_through_both(outer: GatewayProcess, model: str) -> None:
    response = outer.client.post("/v1/embeddings", json={"model": f"inner/primary/{model}", "input": [[1, 2], [3]]})

    assert [each["embedding"] for each in response.json()["data"]] == [[0.5, -0.25]] * 2


def test_models_of_the_inner_one_are_listed_by_the_outer_one(outer: GatewayProcess) -> None:
    listed = outer.client.get("/v1/models").json()["data"]
    card = outer.client.get("/v1/models/inner/primary-model").json()

    assert "inner/primary-model" in [each["id"] for each in listed]
    assert (card["id"], card["context_length"]) == ("inner/primary-model", 8)


def test_a_stream_goes_through_both_and_both_know_its_usage(
    outer: GatewayProcess, keyed: GatewayProcess, model: str
) -> None:
    response = outer.chat(f"inner/primary/{model}", stream=True)

    *chunks, done = _events(response.text)
    assert done == "[DONE]"
    assert "".join(json.loads(each)["choices"][0]["delta"].get("content", "") for each in chunks) == "Hello there."
    (line,) = outer.log_of(response.headers["x-request-id"])
    assert (line["status"], line["prompt_tokens"], line["completion_tokens"]) == ("ok", 7, 3)
    eventually(lambda: _inner_line(keyed, model).get("completion_tokens") == 3, "the inner log line")


def test_usage_is_streamed_through_both_to_a_caller_who_asked(outer: GatewayProcess, model: str) -> None:
    response = outer.chat(f"inner/primary/{model}", stream=True, stream_options={"include_usage": True})

    *_, usage, done = _events(response.text)
    assert json.loads(usage)["usage"]["total_tokens"] == 10
    assert done == "[DONE]"


@WHOLE_OR_STREAMED
@pytest.mark.parametrize(
    ("said", "status", "word"),
    [
        (answer(BOOM, status="500 Internal Server Error"), 502, "upstream_error"),
        (answer(BOOM, status="401 Unauthorized"), 502, "upstream_error"),
        (answer({"choices": []}), 502, "upstream_error"),
        ([{"abort": True}], 502, "upstream_error"),
        ([{"hang": True}], 504, "upstream_timeout"),
        (answer(SLOW_DOWN, status="429 Too Many Requests"), 429, "upstream_rate_limited"),
        (answer(TOO_LONG, status="400 Bad Request"), 400, "context_length"),
        (answer(REFUSED, status="400 Bad Request"), 400, "upstream_rejected"),
    ],
    ids=["500", "401", "empty", "cut", "silent", "429", "too-long", "400"],
)
def test_an_error_keeps_its_meaning(  # noqa: PLR0913, PLR0917 - three fixtures and a row of a table
    outer: GatewayProcess, provider: ProviderProcess, model: str, how: Any, said: Any, status: int, word: str
) -> None:
    provider.script(model, said)

    response = outer.chat(f"inner/primary/{model}", **how)

    assert (response.status_code, response.headers["x-signalbox-error"]) == (status, word)
    assert response.headers["x-signalbox-attempts"] == f"inner:{word}"
    assert response.headers["content-type"] == "application/json"


@WHOLE_OR_STREAMED
def test_what_the_provider_refuses_comes_back_in_its_own_words(
    outer: GatewayProcess, provider: ProviderProcess, model: str, how: Any
) -> None:
    provider.script(model, answer(REFUSED, status="400 Bad Request"))

    response = outer.chat(f"inner/primary/{model}", **how)

    assert response.json() == REFUSED


def test_a_wait_is_passed_on(outer: GatewayProcess, provider: ProviderProcess, model: str) -> None:
    provider.script(model, answer(SLOW_DOWN, status="429 Too Many Requests", headers={"retry-after": "7"}))

    response = outer.chat(f"inner/primary/{model}")

    assert (response.status_code, response.headers["retry-after"]) == (429, "7")
    assert response.json()["error"]["message"] == "slow down"


def test_a_model_the_inner_one_does_not_know_is_not_found(outer: GatewayProcess, model: str) -> None:
    response = outer.chat(f"inner/{model}")

    error = response.json()["error"]
    assert response.status_code == 404
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", "model", "model_not_found")


def test_a_wrong_key_of_ours_is_not_the_callers_fault(outer: GatewayProcess, model: str) -> None:
    response = outer.chat(f"stranger/primary/{model}")

    assert (response.status_code, response.headers["x-signalbox-error"]) == (502, "upstream_auth")
    assert "sk-wrong" not in response.text


@pytest.mark.parametrize(
    "end",
    [{"abort": True}, send(b"0\r\n\r\n"), {"hang": True}],
    ids=["cut", "ended-early", "silent"],
)
def test_a_stream_that_breaks_ends_with_an_error_at_both(
    outer: GatewayProcess, keyed: GatewayProcess, provider: ProviderProcess, model: str, end: Any
) -> None:
    provider.script(model, stream(event("Hel"), end, end=False))

    response = outer.chat(f"inner/primary/{model}", stream=True)

    first, last = [json.loads(each) for each in _events(response.text)]
    assert first["choices"][0]["delta"]["content"] == "Hel"
    assert last["error"]["code"].startswith("upstream_")
    assert last["error"]["message"]
    (line,) = outer.log_of(response.headers["x-request-id"])
    assert line["status"] == last["error"]["code"]
    eventually(lambda: str(_inner_line(keyed, model).get("status")).startswith("upstream_"), "the inner log line")


def test_a_caller_who_leaves_is_noticed_by_the_provider_behind_both(
    outer: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    dot = event(".")
    provider.script(model, stream({"repeat": send(b"%x\r\n%b\r\n" % (len(dot), dot))["send"], "every": 0.02}))
    body = {"model": f"inner/primary/{model}", "messages": [], "stream": True}

    with outer.client.stream("POST", "/v1/chat/completions", json=body) as response:
        next(response.iter_raw())

    eventually(lambda: provider.seen(model)["left"] == 1, "the provider is left")
    assert outer.log_of(response.headers["x-request-id"])[0]["status"] == "client_disconnected"


def _events(text: str) -> list[str]:
    return [event.removeprefix("data: ") for event in text.split("\n\n") if event]


def _inner_line(gateway: GatewayProcess, model: str) -> dict[str, Any]:
    return next((line for line in gateway.log() if line.get("model") == f"primary/{model}"), {})
