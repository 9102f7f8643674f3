"""The misbehaving provider does what its names say, and writes down what it did."""

import json
import select
import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.chaos.behaviours import BEHAVIOURS
from tests.chaos.spec import Spec, parse
from tests.chaos.support import ChaosProvider, chaos_provider
from tests.support.processes import PATIENCE_SECONDS

BAD = (httpx.RemoteProtocolError, httpx.ReadError, httpx.ReadTimeout, httpx.DecodingError)


@pytest.fixture(scope="module")
def provider() -> Iterator[ChaosProvider]:
    with chaos_provider() as made:
        yield made


def ask(provider: ChaosProvider, model: str, call: str, *, row: str = "any", stream: bool = False) -> httpx.Response:
    body = {"model": model, "messages": [], "stream": stream, "number": 3, "call": call}
    return provider.client.post(f"/{row}/v1/chat/completions", json=body, timeout=2)


def ending(provider: ChaosProvider, call: str) -> str:
    """How the answer to a call ended, once it has."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := [each["ending"] for each in provider.journal(call) if each["kind"] == "sent"]):
        assert time.monotonic() < deadline, f"{call} does not end"
        time.sleep(0.02)
    return str(found[0])


@pytest.mark.parametrize(
    ("written", "spec"),
    [
        ("fault:latency?ms=500&jitter=5", Spec("latency", {"ms": "500", "jitter": "5"})),
        ("fault:latency;ms=500,jitter=5", Spec("latency", {"ms": "500", "jitter": "5"})),
        ("fault%3Ahang", Spec("hang", {})),
        ("gpt-4o", None),
        ("default:x", None),
    ],
)
def test_a_misbehaviour_is_read_from_a_name(written: str, spec: Spec | None) -> None:
    assert parse(written.replace("%3A", ":")) == spec


def test_every_misbehaviour_says_what_it_is(provider: ChaosProvider) -> None:
    listed = provider.client.get("/_list").json()

    assert listed.keys() == BEHAVIOURS.keys()
    assert all(listed.values())


def test_a_good_answer_and_a_good_stream_say_the_same(provider: ChaosProvider) -> None:
    whole = ask(provider, "gpt", "good").json()
    stream = ask(provider, "gpt", "good-stream", stream=True).text

    assert whole["choices"][0]["message"]["content"] == "another word " * 22
    assert whole["usage"] == {"prompt_tokens": 4, "completion_tokens": 22, "total_tokens": 26}
    assert stream.count('"content":"another word "') == 22
    assert stream.endswith("data: [DONE]\n\n")
    received, sent = provider.journal("good-stream")
    assert (received["kind"], received["fault"], received["stream"]) == ("received", "well", True)
    assert (sent["of"], sent["usage"], sent["events"], sent["ending"]) == (received["number"], [4, 22], 25, "complete")


@pytest.mark.parametrize("name", sorted(BEHAVIOURS))
@pytest.mark.parametrize("stream", [False, True])
def test_every_misbehaviour_ends_when_its_caller_has_gone(provider: ChaosProvider, name: str, *, stream: bool) -> None:
    call = f"{name}-{stream}"
    body = json.dumps({"model": f"fault:{name}", "messages": [], "stream": stream, "call": call}).encode()
    with socket.create_connection(("127.0.0.1", provider.port), PATIENCE_SECONDS) as connection:
        connection.sendall(b"POST /any/v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        select.select([connection], [], [], 0.2)

    assert ending(provider, call) in {"complete", "closed", "reset", "deserted"}


def test_a_rows_fault_hits_its_share_and_ends(provider: ChaosProvider) -> None:
    provider.fault("shaky", "fault:http?status=503", share=0.5)
    seen = [ask(provider, "gpt", f"shaky-{turn}", row="shaky").status_code for turn in range(40)]
    other = ask(provider, "gpt", "steady", row="steady").status_code
    provider.fault("shaky")
    after = ask(provider, "gpt", "after", row="shaky").status_code

    assert set(seen) == {200, 503}
    assert (other, after) == (200, 200)


def test_a_path_may_name_the_fault(provider: ChaosProvider) -> None:
    assert ask(provider, "gpt", "path", row="fault:http;status=418").status_code == 418


def test_flapping_is_counted_by_call(provider: ChaosProvider) -> None:
    said = [ask(provider, "fault:flapping?failures=2", call).status_code for call in ("a", "a", "b", "a", "b", "b")]

    assert said == [500, 500, 500, 200, 500, 200]


def test_a_stream_that_breaks_says_how_in_the_journal(provider: ChaosProvider) -> None:
    with pytest.raises(BAD):
        ask(provider, "fault:reset_mid_stream?events=2", "broken", stream=True)
    with pytest.raises(BAD):
        ask(provider, "fault:truncate", "truncated", stream=True)

    assert ending(provider, "broken") == "reset"
    assert ending(provider, "truncated") == "closed"
