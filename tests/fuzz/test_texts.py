"""Texts of others: names of models find their targets and no others; whatever a line is made of, it is one line."""

import json
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from app.domain.errors import ModelNotFoundError
from app.domain.llm import LLMRequest, Reply
from app.domain.visible import visible
from app.monitoring.exposition import readings_text
from app.monitoring.rendering import LONGEST, as_json, for_people
from app.monitoring.statsd.lines import Dialect
from app.monitoring.tally import LONGEST_LABEL, Reading
from app.providers.listing import Listings
from app.providers.registry import UNKNOWN, ProviderRegistry
from app.providers.standing import Standings
from app.settings import BreakerSettings, RetrySettings
from tests.fuzz.looping import run
from tests.fuzz.mutating import fuzzed

LISTED = {"one": ("gpt", "both", "a/b:free"), "two": ("both",), "hidden": ("secret",)}


class Listed:
    """A provider of which only its name and its models are asked."""

    critical = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.prefix_only = name == "hidden"

    async def answer(self, request: LLMRequest, *, model: str, lines: bytes = b"") -> Reply:
        raise AssertionError(model)

    async def models(self) -> Sequence[dict[str, Any]]:
        return [{"id": model} for model in LISTED[self.name]]


@cache
def registry() -> ProviderRegistry:
    providers = [Listed(name) for name in LISTED]
    standings = Standings(BreakerSettings(), RetrySettings())
    made = ProviderRegistry(providers, {"routed": ["one:x", "two:y"]}, Listings(providers), standings)
    run(made.cards())
    return made


def expected(model: str) -> list[tuple[str, str]]:
    """What the README says of names, read plainly."""
    if model == "routed":
        return [("one", "x"), ("two", "y")]
    for name in LISTED:
        if model.startswith(f"{name}/") and len(model) > len(name) + 1:
            return [(name, model[len(name) + 1 :])]
    return [(name, model) for name in ("one", "two") if model in LISTED[name]]


@fuzzed("texts")
def test_a_name_finds_its_targets_and_no_others(data: bytes) -> None:
    model = data.decode("utf-8", "replace")
    try:
        found = [(each.provider.name, each.model) for each in run(registry().targets_for(model))]
    except ModelNotFoundError as error:
        found = []
        assert error.message.isprintable()
    assert found == expected(model)
    known = {"routed", *(name for names in LISTED.values() for name in names)}
    known |= {f"{name}/{each}" for name, names in LISTED.items() for each in names}
    assert registry().public_name(model) in {model, UNKNOWN}
    assert registry().public_name(model) == UNKNOWN or model in known - {"secret"}


@fuzzed("texts")
def test_a_line_of_the_log_is_one_line_whatever_is_in_it(data: bytes) -> None:
    for text in (data.decode("utf-8", "surrogateescape"), data.decode("latin-1")):
        event = {"event": text, "level": "info", "time": 1.5, text or "x": text, "bytes": data, "n": [text]}
        line = as_json(None, "", dict(event))
        assert len(line.splitlines()) == 1
        assert len(line.encode()) <= LONGEST
        assert isinstance(json.loads(line), dict)
        shown = for_people(colors=False)(None, "", dict(event))
        assert len(shown.splitlines()) == 1
        assert shown.isprintable()
        assert visible(text).isprintable()


@fuzzed("texts")
def test_a_line_for_statsd_is_one_line_of_its_grammar(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    labels = (("model", text), ("provider", "one"))
    plain, tagged = Dialect("p.", None), Dialect("p.", ("env:x",))
    for line in (plain.count("a", labels, 1), tagged.count("a", labels, 1)):
        assert len(line.splitlines()) == 1
        assert line.count(b"|c") >= 1
    assert plain.count("a", labels, 1).count(b"|") == 1
    assert plain.count("a", labels, 1).count(b":") == 1
    assert tagged.count("a", labels, 1).count(b"|") == 2
    assert tagged.count("a", labels, 1).count(b",") == 2


@fuzzed("texts")
def test_a_sample_of_prometheus_is_one_line_that_reads_back(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for open_metrics in (True, False):
        readings = [Reading("a_total", text, 1.5, "counter", (("model", text),))]
        written = b"".join(readings_text(readings, open_metrics=open_metrics)).decode()
        lines = written.split("\n")
        assert lines[-1] == ""
        assert [line[:6] for line in lines[:-1]] == ["# HELP", "# TYPE", "a_tota"]
        value = lines[2].removeprefix('a_total{model="').removesuffix('"} 1.5')
        assert _read_back(value) == text[:LONGEST_LABEL]


def _read_back(value: str) -> str:
    """A label's value as Prometheus reads it."""
    meant = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}
    return re.sub(r'\\[\\"n]', lambda match: meant[match[0]], value)
