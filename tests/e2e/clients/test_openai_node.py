"""OpenAI's own SDK for JavaScript, in a process of Node, works with the gateway as its endpoint."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.clients.support import CALLER_KEY, NODE, eventually, missing
from tests.support.processes import PATIENCE_SECONDS, GatewayProcess, ProviderProcess, answer, event, send, stream

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(missing("openai")), reason=missing("openai"))]

Ask = Callable[[str, str], Any]

SLOW_DOWN = {"error": {"message": "slow down", "type": "requests", "param": None, "code": "rate_limit_exceeded"}}
REFUSED = {"error": {"message": "too hot", "type": "invalid_request_error", "param": "temperature", "code": "range"}}


@pytest.fixture
def ask(keyed: GatewayProcess, directory: Path) -> Ask:
    """Play a scenario of `client.mjs` and return what it printed."""

    def played(scenario: str, model: str) -> Any:
        environ = {"PATH": os.environ["PATH"], "HOME": str(directory), "API_KEY": CALLER_KEY}
        finished = subprocess.run(
            [str(shutil.which("node")), str(NODE / "client.mjs"), scenario, model],
            env=environ | {"BASE_URL": f"{keyed.url}/v1"},
            capture_output=True,
            check=False,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
        assert finished.returncode == 0, finished.stderr
        return json.loads(finished.stdout)

    return played


def test_a_chat_is_answered(ask: Ask, keyed: GatewayProcess, model: str) -> None:
    said = ask("chat", f"primary/{model}")["answer"]

    assert said["completion"]["choices"][0]["message"]["content"] == "Hello there."
    assert said["completion"]["x_unknown"] == {"kept": True}
    assert said["provider"] == "primary"
    assert keyed.log_of(said["requestId"])[0]["status"] == "ok"


def test_a_stream_without_usage_has_a_choice_in_every_chunk(ask: Ask, model: str) -> None:
    chunks = ask("stream", f"primary/{model}")["answer"]

    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "Hello there."
    assert all(chunk["usage"] is None for chunk in chunks)


def test_a_stream_with_usage_ends_with_the_usage(ask: Ask, model: str) -> None:
    chunks = ask("streamWithUsage", f"primary/{model}")["answer"]

    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == 10


def test_the_helper_for_streams_puts_them_together(ask: Ask, model: str) -> None:
    said = ask("helper", f"primary/{model}")

    assert said == {"answer": {"text": "Hello there."}}


def test_tool_calls_come_back(ask: Ask, model: str) -> None:
    (call,) = ask("tools", f"primary/{model}")["answer"]

    assert call["function"] == {"name": "weather", "arguments": '{"city":"Oslo"}'}


def test_the_helper_for_tools_calls_them_and_hands_in_what_they_say(
    ask: Ask, provider: ProviderProcess, model: str
) -> None:
    function = {"name": "weather", "arguments": '{"city":"Oslo"}'}
    message = {"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}
    called = {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    final = {"index": 0, "message": {"role": "assistant", "content": "It rains."}, "finish_reason": "stop"}
    provider.script(model, answer(called), answer({"choices": [final]}))

    said = ask("runTools", f"primary/{model}")["answer"]

    assert said == {"text": "It rains.", "asked": ["Oslo"]}
    assert provider.bodies(model)[1]["messages"][-1] == {"role": "tool", "tool_call_id": "call_1", "content": "rain"}


def test_embeddings_are_vectors_packed_and_as_numbers(ask: Ask, provider: ProviderProcess, model: str) -> None:
    vectors = ask("embeddings", f"primary/{model}")["answer"]

    assert vectors == [[[0.5, -0.25]] * 2, [[0.5, -0.25]]]
    assert [each["encoding_format"] for each in provider.bodies(model)] == ["base64", "float"]


def test_a_completion_is_answered(ask: Ask, model: str) -> None:
    said = ask("completion", f"primary/{model}")["answer"]

    assert said["choices"][0]["text"] == "Hello there."


@pytest.mark.parametrize("name", ["primary-model", "primary/primary-model"])
def test_models_are_listed_and_retrieved_also_by_a_name_with_a_slash(ask: Ask, name: str) -> None:
    said = ask("models", name)["answer"]

    assert "primary-model" in said["ids"]
    assert (said["card"]["id"], said["card"]["owned_by"]) == (name, "primary")


def test_a_wrong_key_is_an_authentication_error(ask: Ask, model: str) -> None:
    error = ask("wrongKey", f"primary/{model}")["error"]

    assert (error["name"], error["code"]) == ("AuthenticationError", "invalid_api_key")
    assert error["requestID"]


@pytest.mark.parametrize("scenario", ["chat", "stream", "unknownCard"])
def test_an_unknown_model_is_not_found(ask: Ask, model: str, scenario: str) -> None:
    error = ask(scenario, model)["error"]

    assert (error["name"], error["code"], error["param"]) == ("NotFoundError", "model_not_found", "model")


@pytest.mark.parametrize("scenario", ["chat", "stream"])
def test_what_the_provider_refuses_is_a_bad_request_in_its_own_words(
    ask: Ask, provider: ProviderProcess, model: str, scenario: str
) -> None:
    provider.script(model, answer(REFUSED, status="400 Bad Request"))

    error = ask(scenario, f"primary/{model}")["error"]

    assert (error["name"], error["code"], error["param"]) == ("BadRequestError", "range", "temperature")
    assert "too hot" in error["message"]


@pytest.mark.parametrize("end", [{"abort": True}, send(b"0\r\n\r\n")], ids=["cut", "ended-early"])
@pytest.mark.parametrize("scenario", ["stream", "helper"])
def test_a_stream_that_breaks_never_passes_for_a_whole_answer(
    ask: Ask, provider: ProviderProcess, model: str, scenario: str, end: Any
) -> None:
    provider.script(model, stream(event("Hel"), end, end=False))

    error = ask(scenario, f"primary/{model}")["error"]

    assert error["code"] == "upstream_truncated"


def test_the_sdk_asks_again_when_the_provider_is_busy(ask: Ask, provider: ProviderProcess, model: str) -> None:
    well = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}]}
    busy = answer(SLOW_DOWN, status="429 Too Many Requests", headers={"retry-after": "1"})
    provider.script(model, busy, answer(well))

    said = ask("retried", f"primary/{model}")

    assert said == {"answer": "yes"}
    assert len(provider.bodies(model)) == 2


def test_a_stream_that_is_aborted_hangs_up_on_the_provider(ask: Ask, provider: ProviderProcess, model: str) -> None:
    each = event(".")
    dot = send(b"%x\r\n%b\r\n" % (len(each), each))["send"]
    provider.script(model, stream({"repeat": dot, "every": 0.02}, end=False))

    said = ask("left", f"primary/{model}")

    assert said["answer"]["choices"][0]["delta"]["content"] == "."
    eventually(lambda: provider.seen(model)["left"] == 1, "the provider is left")
