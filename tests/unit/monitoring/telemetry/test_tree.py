"""The spans that a passage becomes."""

from typing import Any

import pytest

from app.domain.llm import CacheStatus, Operation
from app.domain.outcome import Outcome
from app.domain.passage import Passage
from app.domain.trace import Trace
from app.domain.usage import TokenUsage
from app.monitoring.telemetry.tree import Span, size_of, tree_of


def passage(trace: Trace, outcome: Outcome | None = None, **marks: Any) -> Passage:
    usual = {"admitted": 1.1, "received": 1.2, "parsed": 1.3, "status": 200, "finished": 3.0}
    return Passage(1.0, 1.0, "/v1/chat/completions", **usual | marks, trace=trace, outcome=outcome)


def outcome(**fields: Any) -> Outcome:
    return Outcome("id", "me", Operation.CHAT, "m", **{"stream": False, "seconds": 2.0, "provider": "one"} | fields)


def tree(made: Passage) -> list[Span]:
    assert made.trace is not None
    found = list(tree_of(made, made.trace, {}))
    assert len(found) == size_of(made, made.trace)
    return found


def trace() -> Trace:
    return Trace("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", sampled=True)


def test_who_waited_for_anothers_answer_has_that_as_a_stage() -> None:
    made = passage(trace(), outcome(cache=CacheStatus.COALESCED), looked_up=1.4, answered=2.9)

    server, *stages = tree(made)

    assert [(each.name, each.started, each.ended) for each in stages] == [
        ("policy.enforce", 1.0, 1.3),
        ("cache.lookup", 1.3, 1.4),
        ("flight.wait", 1.4, 2.9),
    ]
    assert server.attributes["signalbox.cost_usd"] == 0


def test_without_a_lookup_routing_begins_where_reading_ended() -> None:
    *_, decide = tree(passage(trace(), outcome(), routed=1.5))

    assert (decide.name, decide.started, decide.ended) == ("router.decide", 1.3, 1.5)


def test_what_was_refused_at_the_door_has_one_stage() -> None:
    made = passage(trace(), received=0.0, parsed=0.0, status=401, word="authentication")

    server, enforce = tree(made)

    assert (enforce.started, enforce.ended) == (1.0, 1.1)
    assert server.attributes["error.type"] == "authentication"
    assert not server.broken


@pytest.mark.parametrize(
    ("status", "word", "error", "broken"),
    [
        (200, "", None, False),
        (404, "model_not_found", None, False),
        (499, "", "client_disconnected", False),
        (200, "", "client_disconnected", False),
        (200, "", "upstream_truncated", True),
        (502, "upstream_error", "upstream_error", True),
        (503, "overloaded", None, True),
    ],
)
def test_a_span_has_failed_where_we_have(status: int, word: str, error: str | None, *, broken: bool) -> None:
    server, *_ = tree(passage(trace(), outcome(error=error), status=status, word=word))

    assert server.broken is broken
    assert server.attributes.get("error.type", "") == (word or error or "")


def test_what_a_provider_charged_is_told_of_the_attempt_and_of_the_request() -> None:
    made = trace()
    usage = TokenUsage(5, 7, 1_500_000)
    made.asks("one", "upstream/m", 1.5).usage = usage

    server, *_, client = tree(passage(made, outcome(usage=usage)))

    assert (client.name, client.started, client.ended) == ("chat upstream/m", 1.5, 3.0)  # it never said that it ended
    assert server.attributes["signalbox.cost_usd"] == client.attributes["signalbox.cost_usd"] == 0.0015
    assert client.attributes["gen_ai.provider.name"] == "one"
