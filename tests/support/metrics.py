"""Metrics with something in them, and how a test reads them."""

from typing import Any

from prometheus_client.parser import text_string_to_metric_families as parse_text

from app.cache.base import CacheSize
from app.domain.llm import Operation
from app.domain.outcome import Outcome
from app.domain.passage import Passage
from app.domain.usage import TokenUsage
from app.monitoring.metrics import Metrics

USAGE = TokenUsage(prompt_tokens=5, completion_tokens=7)


def made(size: CacheSize | None = None) -> Metrics:
    return Metrics(cache=lambda: size or CacheSize(), version="1.2.3")


def outcome(**fields: Any) -> Outcome:
    usual = {"request_id": "id", "caller": "alice", "operation": Operation.CHAT, "model": "m", "stream": False}
    return Outcome(
        **usual | {"seconds": 1.0, "provider": "one", "usage": USAGE, "public_model": "m", "place": "one"} | fields
    )


def passage(**fields: Any) -> Passage:
    """A call's, that took a second: a tenth of it for each phase but the provider's, which took two."""
    marks = {"arrived": 10.0, "begun": 10.1, "admitted": 10.2, "received": 10.2, "parsed": 10.3, "looked_up": 10.4}
    marks |= {"routed": 10.5, "connecting": 0.1, "answered": 10.8, "ended": 10.9, "finished": 11.0}
    return Passage(**marks | {"route": "/v1/chat/completions", "status": 200} | fields)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """The value of one sample, None where there is none."""
    text = metrics.render("")[0].decode()
    found = [each for family in parse_text(text) for each in family.samples if each.name == name]
    return next((each.value for each in found if each.labels == labels), None)
