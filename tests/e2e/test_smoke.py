"""The main job, as a user has it."""

import json
from pathlib import Path

import pytest

from tests.support.processes import GatewayProcess, ProviderProcess, gateway_process

pytestmark = pytest.mark.e2e


def test_a_chat_goes_through_untouched(gateway: GatewayProcess, provider: ProviderProcess, model: str) -> None:
    response = gateway.chat(f"primary/{model}", top_logprobs=3, x_unknown={"a": [1, 2]})

    assert response.status_code == 200
    assert response.json()["x_unknown"] == {"kept": True}
    assert response.headers["x-signalbox-provider"] == "primary"
    assert response.headers["x-signalbox-attempts"] == "primary:ok"
    (sent,) = provider.bodies(model)
    assert sent["x_unknown"] == {"a": [1, 2]}
    assert (sent["model"], sent["top_logprobs"]) == (model, 3)


def test_a_stream_goes_through_and_its_usage_is_kept_to_ourselves(
    gateway: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    response = gateway.chat(f"primary/{model}", stream=True)

    events = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    assert "".join(json.loads(each)["choices"][0]["delta"].get("content", "") for each in events[:-1]) == "Hello there."
    assert provider.bodies(model)[0]["stream_options"] == {"include_usage": True}
    (line,) = gateway.log_of(response.headers["x-request-id"])
    assert (line["status"], line["prompt_tokens"], line["completion_tokens"]) == ("ok", 7, 3)


def test_a_proxy_may_stand_between(provider: ProviderProcess, directory: Path, model: str) -> None:
    row = {"base_url": "http://nowhere.invalid/primary/v1", "proxy": provider.url}
    with gateway_process(directory, {"providers": {"far": row}}) as gateway:
        response = gateway.chat(f"far/{model}")

    assert response.status_code == 200
    (asked,) = provider.seen(model)["requests"]
    assert asked["path"] == "http://nowhere.invalid/primary/v1/chat/completions"


def test_usage_is_told_to_a_caller_who_asked(gateway: GatewayProcess, model: str) -> None:
    response = gateway.chat(f"primary/{model}", stream=True, stream_options={"include_usage": True})

    assert '"total_tokens":10' in response.text
