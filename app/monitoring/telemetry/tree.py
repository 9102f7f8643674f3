"""The spans of one request, made of what its passage noted: nothing of this is done while it runs.

Names and attributes are those of OpenTelemetry's HTTP and GenAI conventions; what they have no word for is
`signalbox.*`. Prompts and answers never come here: a passage has none.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from msgspec import Struct

from app.domain.errors import CallerGoneError
from app.domain.llm import SERVED_AGAIN, CacheStatus, Operation
from app.domain.outcome import Outcome
from app.domain.passage import Passage
from app.domain.trace import Attempt, Trace, new_span_id
from app.monitoring.telemetry.names import OPERATIONS, Peer

Attributes = dict[str, Any]

ENFORCE, LOOKUP, DECIDE, WAIT = "policy.enforce", "cache.lookup", "router.decide", "flight.wait"


class Span(Struct, gc=False):
    """Seconds are on the clock of `time.perf_counter`; `broken` says that it counts as an error."""

    name: str
    kind: Literal["server", "client", "internal"]
    span_id: str
    parent_id: str
    started: float
    ended: float
    attributes: Attributes
    broken: bool = False


def tree_of(passage: Passage, trace: Trace, peers: Mapping[str, Peer]) -> Iterator[Span]:
    """The request itself first, then its stages, then its attempts."""
    yield _request(passage, trace)
    outcome, own = passage.outcome, trace.span_id
    for name, started, ended in _stages(passage):
        yield Span(name, "internal", new_span_id(), own, started, ended, {})
    for number, attempt in enumerate(trace.attempts, 1):
        ended = attempt.ended or passage.finished
        said = _attempt(attempt, number, outcome, peers.get(attempt.provider) or Peer(attempt.provider))
        name = f"{said['gen_ai.operation.name']} {attempt.model}"
        yield Span(name, "client", attempt.span_id, own, attempt.started, ended, said, bool(attempt.error))


def size_of(passage: Passage, trace: Trace) -> int:
    """How many spans that are."""
    return 1 + sum(1 for _ in _stages(passage)) + len(trace.attempts)


def _request(passage: Passage, trace: Trace) -> Span:
    outcome = passage.outcome
    said: Attributes = {
        "http.request.method": passage.method,
        "http.route": passage.route,
        "url.path": passage.route,
        "url.scheme": "http",
        "http.response.status_code": passage.status,
        "http.request.body.size": passage.bytes_in,
    }
    word = passage.word
    if outcome is not None:
        said |= _told_of(outcome)
        word = word or outcome.error or ""
    if word:
        said["error.type"] = str(word)
    # what the caller did is no error of ours, and one who left neither
    broken = passage.status >= 500 or (passage.status < 400 and word not in {"", CallerGoneError.word})
    name = f"{passage.method} {passage.route}"
    return Span(name, "server", trace.span_id, trace.parent_id, passage.arrived, passage.finished, said, broken)


def _told_of(outcome: Outcome) -> Attributes:
    said: Attributes = {
        "signalbox.request_id": outcome.request_id,
        "signalbox.key": outcome.caller,
        "signalbox.model": outcome.model,
        "signalbox.provider": outcome.provider,
        "signalbox.cache": str(outcome.cache),
        "signalbox.stream": outcome.stream,
    }
    if outcome.attempts:
        said["signalbox.attempts"] = outcome.attempts
    if outcome.cache in SERVED_AGAIN:
        said["signalbox.cost_usd"] = 0.0
    elif outcome.usage.cost_nano_usd is not None:
        said["signalbox.cost_usd"] = outcome.usage.cost_nano_usd / 1e9
    if outcome.chunks:
        said["signalbox.stream.chunks"] = outcome.chunks
        said["signalbox.stream.largest_gap_seconds"] = outcome.largest_gap
    return said


def _stages(passage: Passage) -> Iterator[tuple[str, float, float]]:
    last = passage.parsed or passage.received or passage.admitted
    if last:
        yield ENFORCE, passage.begun, last
    if passage.looked_up:
        yield LOOKUP, last, passage.looked_up
        last = passage.looked_up
    outcome = passage.outcome
    if passage.routed:
        yield DECIDE, last, passage.routed
    elif passage.answered and outcome is not None and outcome.cache is CacheStatus.COALESCED:
        yield WAIT, last, passage.answered


def _attempt(attempt: Attempt, number: int, outcome: Outcome | None, peer: Peer) -> Attributes:
    operation = Operation.CHAT if outcome is None else outcome.operation
    said: Attributes = {
        "gen_ai.operation.name": OPERATIONS[operation],
        "gen_ai.provider.name": peer.name,
        "gen_ai.request.model": attempt.model,
        "signalbox.provider": attempt.provider,
        "signalbox.attempt": number,
    }
    if peer.address:
        said |= {"server.address": peer.address, "server.port": peer.port}
    if outcome is not None and outcome.stream:
        said["gen_ai.request.stream"] = True
        if attempt.answered:
            said["gen_ai.response.time_to_first_chunk"] = attempt.answered - attempt.started
    if attempt.finish_reasons:
        said["gen_ai.response.finish_reasons"] = attempt.finish_reasons
    usage = attempt.usage
    if usage.total_tokens:
        said["gen_ai.usage.input_tokens"] = usage.prompt_tokens
        if operation is not Operation.EMBEDDING:
            said["gen_ai.usage.output_tokens"] = usage.completion_tokens
    if usage.cost_nano_usd is not None:
        said["signalbox.cost_usd"] = usage.cost_nano_usd / 1e9
    if attempt.error:
        said["error.type"] = str(attempt.error)
    return said
