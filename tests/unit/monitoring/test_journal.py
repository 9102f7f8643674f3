"""One line for each call, written in large pieces."""

import asyncio
import io
import json
import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import Failure, InvalidRequestError
from app.domain.llm import CacheStatus, LLMRequest, Operation
from app.domain.outcome import Outcome
from app.domain.usage import TokenUsage
from app.monitoring.journal import FLUSH_BYTES, FLUSH_SECONDS, Journal
from app.monitoring.lines import WholeLines
from app.monitoring.writer import LineWriter


def outcome(**fields: Any) -> Outcome:
    usual = {"request_id": "id-1", "caller": "alice", "operation": Operation.CHAT, "model": "m", "stream": False}
    return Outcome(**usual | {"seconds": 0.25, "provider": "one"} | fields)


def journal(style: Any = "json", now: float = 0.0) -> tuple[Journal, io.BytesIO]:
    file = io.BytesIO()
    return Journal(LineWriter(WholeLines(file)), style=style, clock=lambda: now), file


async def test_a_call_is_one_json_object() -> None:
    made, file = journal(now=12.5)

    made.record(
        outcome(
            stream=True,
            cache=CacheStatus.MISS,
            attempts="one:ok",
            usage=TokenUsage(prompt_tokens=5, completion_tokens=7),
            seconds_upstream=0.2,
            seconds_to_first_chunk=0.1234567,
        )
    )
    await made.aclose()

    assert file.getvalue().endswith(b"}\n")
    assert json.loads(file.getvalue()) == {
        "time": 12.5,
        "level": "info",
        "event": "call",
        "status": "ok",
        "request_id": "id-1",
        "key": "alice",
        "operation": "chat/completions",
        "model": "m",
        "provider": "one",
        "stream": True,
        "cache": "miss",
        "attempts": "one:ok",
        "prompt_tokens": 5,
        "completion_tokens": 7,
        "ms": 250.0,
        "upstream_ms": 200.0,
        "first_ms": 123.457,
    }


async def test_a_call_that_belongs_to_a_trace_names_it() -> None:
    made, file = journal()

    made.record(outcome(trace_id="0af7651916cd43dd8448eb211c80319c"))
    await made.aclose()

    assert json.loads(file.getvalue())["trace_id"] == "0af7651916cd43dd8448eb211c80319c"


async def test_a_call_that_failed_has_its_word_and_what_never_came_is_null() -> None:
    made, file = journal()

    made.record(outcome(error=Failure.UPSTREAM_TIMEOUT))
    await made.aclose()

    line = json.loads(file.getvalue())
    assert (line["status"], line["first_ms"]) == ("upstream_timeout", None)


async def test_what_never_became_a_call_has_a_line_of_its_own() -> None:
    made, file = journal(now=3.0)

    made.refused(
        request_id="id-2", route="/v1/models/{model}", status_code=401, word="authentication", client="192.0.2.7"
    )
    await made.aclose()

    assert json.loads(file.getvalue()) == {
        "time": 3.0,
        "level": "info",
        "event": "refused",
        "status": "authentication",
        "request_id": "id-2",
        "route": "/v1/models/{model}",
        "code": 401,
        "client": "192.0.2.7",
    }


async def test_a_line_for_people_says_what_matters() -> None:
    made, file = journal("console", now=3661.0)

    made.record(outcome(model="modèle", cache=CacheStatus.HIT, usage=TokenUsage(prompt_tokens=5, completion_tokens=7)))
    made.refused(request_id="id-2", route="/v1/x", status_code=404, word="not_found", client="::1")
    await made.aclose()

    call, refusal = file.getvalue().decode().splitlines()
    assert call.split() == ["01:01:01", "ok", "250.0", "ms", "one", "modèle", "hit", "5+7", "tokens", "alice", "id-1"]
    assert refusal.split() == ["01:01:01", "not_found", "404", "/v1/x", "id-2", "::1"]


async def test_nobody_forges_a_line_for_people_by_a_name() -> None:
    made, file = journal("console")

    made.record(outcome(model="m\r\n00:00:00 ok\x1b[2J\x9b\u2028", request_id="a\nb", caller="\x07"))
    made.refused(request_id="id\n", route="/\x1b]0;t\x07", status_code=404, word="not_found")
    await made.aclose()

    lines = file.getvalue().decode().splitlines()
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)
    assert r"m\r\n00:00:00 ok\x1b[2J\x9b\u2028" in lines[0]


async def test_refusals_can_be_left_out() -> None:
    file = io.BytesIO()
    made = Journal(LineWriter(WholeLines(file)), style="json", refusals=False)

    made.refused(request_id="id", route="/", status_code=404, word="not_found")
    made.record(outcome())
    await made.aclose()

    assert [json.loads(line)["event"] for line in file.getvalue().splitlines()] == ["call"]


@given(st.text(max_size=20))
def test_no_model_that_is_let_in_can_break_a_line_for_people(model: str) -> None:
    body = json.dumps({"model": model, "messages": []}).encode()
    try:
        request = LLMRequest.parse(Operation.CHAT, body)
    except InvalidRequestError:
        return

    line = asyncio.run(_line_for(request))

    assert line.endswith("\n")
    assert line[:-1].isprintable()
    assert model in line


async def _line_for(request: LLMRequest) -> str:
    made, file = journal("console")
    made.record(outcome(model=request.model))
    await made.aclose()
    return file.getvalue().decode()


async def test_nothing_is_written_at_once_and_all_of_it_soon() -> None:
    made, file = journal()

    made.record(outcome())
    made.record(outcome())
    assert file.getvalue() == b""
    await asyncio.sleep(FLUSH_SECONDS * 2)

    assert file.getvalue().count(b"\n") == 2
    made.record(outcome())
    await asyncio.sleep(FLUSH_SECONDS * 2)
    assert file.getvalue().count(b"\n") == 3


async def test_what_has_grown_large_is_written_at_once() -> None:
    made, file = journal()

    lines = 0
    while lines * 200 < FLUSH_BYTES * 2:
        made.record(outcome())
        lines += 1
    deadline = time.monotonic() + 5
    while not file.getvalue():  # it is written in a thread of its own, without the loop
        assert time.monotonic() < deadline
        time.sleep(0.001)  # noqa: ASYNC251 - the loop is held on purpose

    assert len(file.getvalue()) > FLUSH_BYTES
    await made.aclose()
    assert file.getvalue().count(b"\n") == lines


async def test_closing_writes_what_is_left_and_nothing_twice() -> None:
    made, file = journal()
    made.record(outcome())

    await made.aclose()
    await asyncio.sleep(FLUSH_SECONDS * 2)

    assert file.getvalue().count(b"\n") == 1


class Broken(io.BytesIO):
    """A file whose reader has gone."""

    def write(self, _: Any) -> int:
        raise BrokenPipeError


async def test_a_file_that_cannot_be_written_is_no_callers_failure() -> None:
    made = Journal(LineWriter(WholeLines(Broken())), style="json")

    for _ in range(1000):
        made.record(outcome())
