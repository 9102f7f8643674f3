"""What tests of failing providers share: the errors they script, what a caller is told, waiting for what follows."""

import json
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from tests.support.processes import PATIENCE_SECONDS, GatewayProcess, answer, event

GATE = {"gate": True}
HANG = {"hang": True}
ABORT = {"abort": True}
CLOSE = {"close": True}
DONE = b"data: [DONE]\n\n"
FIRST = event("whole")
LAST = event("end", "stop")
HTML = {"content-type": "text/html"}
HALF_LETTER = 'data: {"choices":[{"delta":{"content":"ä'.encode()[:-1]
ENDLESS = b'data: {"choices":[{"delta":{"content":"' + b"x" * 2 * 2**20
FAILED = {"message": "out of memory", "type": "server_error"}


def data(payload: Any) -> bytes:
    """An event of a stream."""
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


def refusal(status: str, headers: Mapping[str, str] | None = None, **fields: Any) -> list[dict[str, str]]:
    """An answer with OpenAI's error body."""
    return answer({"error": {"message": "no"} | fields}, status=status, headers=headers)


def assert_failed(response: httpx.Response, status: int, word: str, *, tries: int = 1) -> None:
    """A failure of the provider `primary`, told as the table of errors has it, after so many attempts."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert (error["type"], error["code"], error["param"]) == ("upstream_error", word, None)
    assert error["message"]
    assert response.headers["x-signalbox-error"] == word
    assert response.headers["x-signalbox-attempts"] == ",".join([f"primary:{word}"] * tries)


def events_of(response: httpx.Response) -> list[bytes]:
    """The events of a whole stream, without what parts them."""
    assert response.headers["content-type"].startswith("text/event-stream"), response.text
    assert response.content.endswith(b"\n\n")
    return response.content.removesuffix(b"\n\n").split(b"\n\n")


def last_error(response: httpx.Response) -> dict[str, Any]:
    """The error a stream ended with; nothing follows it, and no `[DONE]` came before."""
    events = events_of(response)
    assert DONE.strip() not in events
    error: dict[str, Any] = json.loads(events[-1].removeprefix(b"data: "))["error"]
    return error


def eventually(holds: Callable[[], object], what: str, *, patience: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.02)


def ask_and_wait(gateway: GatewayProcess, body: Mapping[str, Any], request_id: str) -> socket.socket:
    """The connection of a caller who has asked and reads nothing; closing it is leaving."""
    said = json.dumps({"messages": []} | dict(body)).encode()
    connection = socket.create_connection(("127.0.0.1", gateway.port), PATIENCE_SECONDS)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{gateway.port}\r\nx-request-id: {request_id}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(said)}\r\n\r\n"
    )
    connection.sendall(head.encode() + said)
    return connection
