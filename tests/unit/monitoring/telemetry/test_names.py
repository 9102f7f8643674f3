"""The tables of names, held against the migration guide of the GenAI conventions."""

import pytest

from app.domain.llm import Operation
from app.domain.outcome import Outcome
from app.domain.passage import Passage
from app.domain.trace import Attempt, Trace
from app.domain.usage import NO_USAGE, TokenUsage
from app.monitoring.tally import HistogramFamily
from app.monitoring.telemetry.genai import GenAIMetrics
from app.monitoring.telemetry.names import NEW, OLD, Peer, instruments, peer_of
from app.settings import ProviderSettings, TelemetrySettings

PEERS = {"one": Peer("openai", "api.openai.com", 443)}
LABELS = ("chat", "openai", "m", "api.openai.com", "443")

# what semantic-conventions 1.41.0 has, and what took its place
MIGRATION = {
    "gen_ai.client.operation.duration": {"gen_ai.client.inference.duration", "gen_ai.client.operation.duration"},
    "gen_ai.client.operation.time_to_first_chunk": {"gen_ai.client.inference.time_to_first_chunk"},
    "gen_ai.client.operation.time_per_output_chunk": {"gen_ai.client.inference.time_per_output_chunk"},
    "gen_ai.client.token.usage": {
        "gen_ai.client.inference.usage.input_tokens",
        "gen_ai.client.inference.usage.output_tokens",
        "gen_ai.client.inference.operation.input_tokens",
        "gen_ai.client.inference.operation.output_tokens",
    },
}


def passage(*, usage: TokenUsage = NO_USAGE, error: str = "", stream: bool = False, **fields: object) -> Passage:
    attempt = Attempt("00f067aa0ba902b7", "one", "m", 1.0, 1.5 if stream else 3.0, 3.0, error, usage)
    operation = fields.pop("operation", Operation.CHAT)
    outcome = Outcome(
        "id", "me", operation, "m", stream, 2.0, chunks=4 if stream else 0, **{"public_model": "m"} | fields
    )
    return Passage(1.0, 1.0, finished=3.0, trace=Trace("", attempts=[attempt]), outcome=outcome)


def counted(semconv: str, *passages: Passage) -> dict[str, dict[tuple[str, ...], tuple[float, int | None]]]:
    """By metric and labels: sum and count; a counter has no count."""
    made = GenAIMetrics(TelemetrySettings(semconv=semconv), PEERS, max_series=2000)
    for each in passages:
        made.passed(each)
    return {
        name: {
            labels: (child.sum, sum(child.counts)) if isinstance(family, HistogramFamily) else (child.value, None)
            for labels, child in family.children.items()
        }
        for name, family in made.tally.families.items()
        if family.children
    }


def test_the_old_names_are_those_before_the_migration_and_the_new_ones_those_after_it() -> None:
    assert {each.name for each in OLD} == set(MIGRATION)
    assert {each.name for each in NEW} == {name for names in MIGRATION.values() for name in names}
    assert {each.name for each in instruments("both")} == {each.name for each in (*OLD, *NEW)}


def test_counters_are_what_usage_is_and_all_else_are_histograms() -> None:
    assert {each.name for each in (*OLD, *NEW) if not each.bounds} == {
        "gen_ai.client.inference.usage.input_tokens",
        "gen_ai.client.inference.usage.output_tokens",
    }


def test_buckets_are_the_ones_the_conventions_ask_for() -> None:
    seconds = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
    tokens = [1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864]

    assert {(each.unit, *each.bounds) for each in (*OLD, *NEW) if each.bounds} == {
        ("s", *seconds),
        ("{token}", *tokens),
    }


def test_old_is_what_dashboards_read_so_far() -> None:
    assert counted("old", passage(usage=TokenUsage(5, 7), stream=True)) == {
        "gen_ai.client.operation.duration": {(*LABELS, ""): (2.0, 1)},
        "gen_ai.client.operation.time_to_first_chunk": {LABELS: (0.5, 1)},
        "gen_ai.client.operation.time_per_output_chunk": {LABELS: (1.5, 3)},
        "gen_ai.client.token.usage": {(*LABELS, "input"): (5, 1), (*LABELS, "output"): (7, 1)},
    }


def test_new_is_the_same_under_its_new_names() -> None:
    assert counted("new", passage(usage=TokenUsage(5, 7), stream=True)) == {
        "gen_ai.client.inference.duration": {(*LABELS, ""): (2.0, 1)},
        "gen_ai.client.inference.time_to_first_chunk": {LABELS: (0.5, 1)},
        "gen_ai.client.inference.time_per_output_chunk": {LABELS: (1.5, 3)},
        "gen_ai.client.inference.usage.input_tokens": {(*LABELS, "unknown"): (5, None)},
        "gen_ai.client.inference.usage.output_tokens": {(*LABELS, "unknown"): (7, None)},
        "gen_ai.client.inference.operation.input_tokens": {LABELS: (5, 1)},
        "gen_ai.client.inference.operation.output_tokens": {LABELS: (7, 1)},
    }


def test_both_is_both_and_nothing_twice() -> None:
    one = passage(usage=TokenUsage(5, 7), stream=True)

    assert counted("both", one) == counted("old", one) | counted("new", one)


@pytest.mark.parametrize("semconv", ["old", "new", "both"])
def test_embeddings_are_no_inference(semconv: str) -> None:
    found = counted(semconv, passage(operation=Operation.EMBEDDING, usage=TokenUsage(5, 0)))

    labels = ("embeddings", *LABELS[1:])
    usage = {"gen_ai.client.token.usage": {(*labels, "input"): (5, 1)}} if semconv != "new" else {}
    assert found == {"gen_ai.client.operation.duration": {(*labels, ""): (2.0, 1)}} | usage


def test_a_failure_says_why_and_counts_no_tokens_but_a_zero() -> None:
    assert counted("new", passage(error="upstream_timeout")) == {
        "gen_ai.client.inference.duration": {(*LABELS, "upstream_timeout"): (2.0, 1)},
        "gen_ai.client.inference.usage.input_tokens": {(*LABELS, "unknown"): (0, None)},
        "gen_ai.client.inference.usage.output_tokens": {(*LABELS, "unknown"): (0, None)},
    }


def test_a_name_that_nobody_lists_is_no_attribute() -> None:
    found = counted("old", passage(public_model="unknown"))

    assert list(found["gen_ai.client.operation.duration"]) == [
        ("chat", "openai", "unknown", "api.openai.com", "443", "")
    ]


@pytest.mark.parametrize(
    ("url", "peer"),
    [
        ("https://api.openai.com/v1", ("openai", "api.openai.com", 443)),
        ("https://eu.api.openai.com/v1", ("openai", "eu.api.openai.com", 443)),
        ("https://api.groq.com/openai/v1", ("groq", "api.groq.com", 443)),
        ("https://api.x.ai/v1", ("x_ai", "api.x.ai", 443)),
        ("https://openrouter.ai/api/v1", ("openrouter", "openrouter.ai", 443)),
        ("https://me.openai.azure.com/openai/v1", ("azure.ai.openai", "me.openai.azure.com", 443)),
        ("https://bedrock-runtime.us-west-2.amazonaws.com/openai/v1",
         ("aws.bedrock", "bedrock-runtime.us-west-2.amazonaws.com", 443)),
        ("https://europe-west4-aiplatform.googleapis.com/v1",
         ("gcp.vertex_ai", "europe-west4-aiplatform.googleapis.com", 443)),
        ("http://127.0.0.1:11434/v1", ("row", "127.0.0.1", 11434)),
        ("http://notapi.x.ai.example/v1", ("row", "notapi.x.ai.example", 80)),
        ("", ("row", "", 0)),
    ],
)  # fmt: skip # a table
def test_a_provider_is_known_by_its_host_else_by_its_row(url: str, peer: tuple[str, str, int]) -> None:
    assert peer_of("row", ProviderSettings(base_url=url)) == Peer(*peer)
