"""At level debug each choice is a line; at any other it costs nothing."""

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
import structlog

from app.cache.base import CacheSize
from app.domain import upstream_errors as errors
from app.domain.errors import NoTargetError
from app.domain.llm import LLMRequest, Reply
from app.monitoring.health.service import HealthService
from app.monitoring.metrics import Metrics
from app.providers.listing import Listings
from app.providers.registry import ProviderRegistry
from app.providers.standing import Standings
from app.services.stages.explaining import NAME, explainer
from app.services.stages.fallback import FallbackDispatcher
from app.settings import BreakerSettings, RetrySettings
from tests.support.calls import call_for


class Provider:
    prefix_only = critical = False

    def __init__(self, name: str, *failures: errors.UpstreamError) -> None:
        self.name = name
        self.failures = list(failures)

    async def answer(self, request: LLMRequest, *, model: str, lines: bytes = b"") -> Reply:
        if self.failures:
            raise self.failures.pop(0)
        return Reply(body=b"{}", provider=self.name, model=model, complete=True)

    async def models(self) -> Sequence[dict[str, Any]]:
        return [{"id": "listed"}]

    async def ping(self) -> None:
        return None


class Healthy(HealthService):
    """Takes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str | None]] = []

    def attempted(self, name: str, word: str | None, *, hurts: bool, detail: str = "") -> None:
        self.told.append((name, word))


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(cache=CacheSize, version="1")


async def lines_for(
    model: str, metrics: Metrics, *providers: Provider, level: int = logging.DEBUG, broken: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """What is said of one call for `model`; the breakers of the targets `broken` are open."""
    logger = logging.getLogger(NAME)
    before, logger_level = structlog.get_config(), logger.level
    standings = Standings(BreakerSettings(), RetrySettings())
    for place in broken:
        name, _, unwell = place.partition(":")
        for _ in range(5):
            standings.of(name).ended(unwell, time.perf_counter(), errors.UpstreamError("no", provider=name))
    routes = {"routed": ["one:first", "one:second", "two:third"]}
    registry = ProviderRegistry(providers, routes, Listings(providers), standings)
    said: list[dict[str, Any]] = []

    def keep(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        said.append(dict(event))
        raise structlog.DropEvent

    structlog.configure(processors=[keep], cache_logger_on_first_use=False)
    logger.setLevel(level)
    try:
        retry = RetrySettings(backoff_seconds=0.001)
        made = FallbackDispatcher(registry, standings, metrics.providers, Healthy(), retry)
        with suppress(NoTargetError):
            await made(call_for(b'{"model":"%b","messages":[]}' % model.encode()))
    finally:
        structlog.configure(**before)
        logger.setLevel(logger_level)
    return said


@pytest.mark.parametrize(
    ("model", "reason", "candidates"),
    [
        ("routed", "route", ["one:first", "one:second", "two:third"]),
        ("two/any", "prefix", ["two:any"]),
        ("listed", "listed", ["one:listed", "two:listed"]),
    ],
)
async def test_a_choice_names_its_candidates_and_its_reason(
    metrics: Metrics, model: str, reason: str, candidates: list[str]
) -> None:
    metrics.providers.moved("", "one", "m")

    (line,) = await lines_for(model, metrics, Provider("one"), Provider("two"))

    assert line == {
        "event": "selection",
        "request_id": "id",
        "model": model,
        "reason": reason,
        "chosen": candidates[0],
        "candidates": candidates,
        "active": {each.partition(":")[0]: int(each.startswith("one")) for each in candidates},
    }


async def test_each_further_attempt_says_what_made_it_needed(metrics: Metrics) -> None:
    failures = [
        errors.UpstreamConnectError("no", provider="one", detail="Connection refused"),
        errors.UpstreamTimeoutError("it said: your question was …", provider="one"),
        errors.UpstreamMalformedError("no", provider="one"),
    ]

    said = await lines_for("routed", metrics, Provider("one", *failures), Provider("two"))

    told = [(line["reason"], line["chosen"], line.get("failed"), line.get("detail")) for line in said]
    assert told == [
        ("route", "one:first", None, None),
        ("retry", "one:first", "upstream_connect", "Connection refused"),
        ("fallback", "one:second", "upstream_timeout", None),
        ("fallback", "two:third", "upstream_malformed", None),
    ]
    assert said[1]["wait_seconds"] > 0
    assert "your question" not in str(said)


async def test_nobody_explains_what_nobody_reads(metrics: Metrics) -> None:
    assert await lines_for("routed", metrics, Provider("one"), Provider("two"), level=logging.INFO) == []


def test_that_is_decided_once(metrics: Metrics) -> None:
    logger = logging.getLogger(NAME)
    before = logger.level

    logger.setLevel(logging.INFO)
    quiet = explainer(metrics.providers)
    logger.setLevel(logging.DEBUG)
    talkative = explainer(metrics.providers)
    logger.setLevel(before)

    assert quiet is None
    assert talkative is not None


async def test_a_target_that_is_passed_over_is_named_with_the_seconds_left(metrics: Metrics) -> None:
    (line,) = await lines_for("routed", metrics, Provider("one"), Provider("two"), broken=["one:first"])

    assert (line["reason"], line["chosen"]) == ("fallback", "one:second")
    assert line["skipped"].keys() == {"one:first"}
    assert 7 < line["skipped"]["one:first"] <= 10


async def test_it_is_said_that_nobody_could_be_asked(metrics: Metrics) -> None:
    broken = ["one:first", "one:second", "two:third"]

    (line,) = await lines_for("routed", metrics, Provider("one"), Provider("two"), broken=broken)

    assert (line["reason"], list(line["skipped"])) == ("no_target", broken)
