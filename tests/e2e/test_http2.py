"""A gateway whose provider speaks HTTP/2."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.support.h2_origin import Call, h2_origin
from tests.support.processes import GatewayProcess, event, gateway_process
from tests.support.upstreams import authority, server_context

pytestmark = pytest.mark.e2e

ANSWER = {
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
}


async def provider_script(call: Call) -> None:
    if call.path.endswith("/models"):  # health asks
        call.answer(b'{"object":"list","data":[{"id":"m"}]}')
        return
    if not json.loads(call.body).get("stream"):
        call.answer(json.dumps(ANSWER).encode())
        return
    call.head()
    for piece in (event("Hel"), event("lo.", "stop"), b"data: [DONE]\n\n"):
        call.data(piece)
        await asyncio.sleep(0.01)
    call.end()


async def test_a_provider_of_http2_answers_calls_and_streams_on_one_connection(directory: Path) -> None:
    ca_file = directory / "ca.pem"
    authority().cert_pem.write_to_path(str(ca_file))
    async with h2_origin(server_context()) as provider:
        provider.script = provider_script
        row = {"base_url": provider.url, "http2": True, "ca_file": str(ca_file), "models": ["m"]}
        await asyncio.to_thread(_asked, directory, row)

    assert {call.path for call in provider.calls} >= {"/v1/chat/completions"}
    assert provider.connections == 1


def _asked(directory: Path, row: dict[str, object]) -> None:
    with gateway_process(directory, {"providers": {"far": row}}) as gateway:
        whole = gateway.chat("far/m", seed=1)
        stream = gateway.chat("far/m", stream=True)
        _left(gateway)

    assert whole.json()["choices"] == ANSWER["choices"]
    events = [each.removeprefix("data: ") for each in stream.text.split("\n\n") if each]
    assert [json.loads(each)["choices"][0]["delta"]["content"] for each in events[:-1]] == ["Hel", "lo."]
    assert events[-1] == "[DONE]"


def _left(gateway: GatewayProcess) -> None:
    """A caller who leaves in the middle costs the next one nothing."""
    body = {"model": "far/m", "messages": [{"role": "user", "content": "leave"}], "stream": True}
    with gateway.client.stream("POST", "/v1/chat/completions", json=body) as response:
        assert next(response.iter_bytes())
    assert gateway.chat("far/m", seed=2).status_code == 200
