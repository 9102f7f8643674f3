"""What OpenTelemetry calls the things we know: one table for each version of the GenAI conventions.

`OLD` are the names of semantic-conventions 1.41.0, which dashboards and backends mostly still read; `NEW` those that
semantic-conventions-genai gave model calls in September and October 2026. All of them are in development.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Literal
from urllib.parse import urlsplit

from msgspec import Struct

from app.domain.llm import Operation
from app.settings import ProviderSettings

SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TOKENS = tuple(4**power for power in range(14))
OPERATIONS = {Operation.CHAT: "chat", Operation.COMPLETION: "text_completion", Operation.EMBEDDING: "embeddings"}


class Fact(StrEnum):
    """What one attempt at a provider tells."""

    INFERENCE_SECONDS = "inference seconds"
    """Of a chat or completion, from asking to its end."""
    OTHER_SECONDS = "other seconds"
    """Of embeddings, which newer conventions do not call inference."""
    FIRST_CHUNK = "first chunk"
    CHUNK_SECONDS = "chunk seconds"
    INPUT_TOKENS = "input tokens"
    OUTPUT_TOKENS = "output tokens"
    OTHER_INPUT_TOKENS = "other input tokens"


class Instrument(Struct, frozen=True):
    """`fixed` are attributes it has beside those of the attempt."""

    fact: Fact
    name: str
    unit: str
    text: str
    bounds: tuple[float, ...] = ()
    """None of them make it a counter."""
    fixed: tuple[tuple[str, str], ...] = ()
    with_error: bool = False


def _seconds(fact: Fact, name: str, text: str, *, with_error: bool = False) -> Instrument:
    return Instrument(fact, name, "s", text, SECONDS, (), with_error)


def _tokens(fact: Fact, name: str, text: str, *fixed: tuple[str, str]) -> Instrument:
    return Instrument(fact, name, "{token}", text, TOKENS, fixed)


def _spent(fact: Fact, name: str, text: str) -> Instrument:
    # providers do not say of which kind the tokens were
    return Instrument(fact, name, "{token}", text, (), (("gen_ai.token.modality", "unknown"),))


_OPERATION = "gen_ai.client.operation"
_INFERENCE = "gen_ai.client.inference"
_USAGE = "gen_ai.client.token.usage"
_INPUT, _OUTPUT = ("gen_ai.token.type", "input"), ("gen_ai.token.type", "output")
_DURATION = "From asking a provider to the end of its answer"
_FIRST = "From asking a provider to the first chunk of its stream"
_PER_CHUNK = "Between chunks after the first; of each stream the mean"

_OTHERS = _seconds(Fact.OTHER_SECONDS, f"{_OPERATION}.duration", _DURATION, with_error=True)

OLD = (
    _seconds(Fact.INFERENCE_SECONDS, f"{_OPERATION}.duration", _DURATION, with_error=True),
    _OTHERS,
    _seconds(Fact.FIRST_CHUNK, f"{_OPERATION}.time_to_first_chunk", _FIRST),
    _seconds(Fact.CHUNK_SECONDS, f"{_OPERATION}.time_per_output_chunk", _PER_CHUNK),
    _tokens(Fact.INPUT_TOKENS, _USAGE, "Tokens used", _INPUT),
    _tokens(Fact.OTHER_INPUT_TOKENS, _USAGE, "Tokens used", _INPUT),
    _tokens(Fact.OUTPUT_TOKENS, _USAGE, "Tokens used", _OUTPUT),
)
NEW = (
    _seconds(Fact.INFERENCE_SECONDS, f"{_INFERENCE}.duration", _DURATION, with_error=True),
    _OTHERS,
    _seconds(Fact.FIRST_CHUNK, f"{_INFERENCE}.time_to_first_chunk", _FIRST),
    _seconds(Fact.CHUNK_SECONDS, f"{_INFERENCE}.time_per_output_chunk", _PER_CHUNK),
    _spent(Fact.INPUT_TOKENS, f"{_INFERENCE}.usage.input_tokens", "Input tokens used"),
    _spent(Fact.OUTPUT_TOKENS, f"{_INFERENCE}.usage.output_tokens", "Output tokens used"),
    _tokens(Fact.INPUT_TOKENS, f"{_INFERENCE}.operation.input_tokens", "Input tokens of an operation"),
    _tokens(Fact.OUTPUT_TOKENS, f"{_INFERENCE}.operation.output_tokens", "Output tokens of an operation"),
)


def instruments(semconv: Literal["old", "new", "both"]) -> Sequence[Instrument]:
    """What is exported; what both versions call alike is there once."""
    return {"old": OLD, "new": NEW, "both": tuple(dict.fromkeys((*OLD, *NEW)))}[semconv]


# Where a provider is known by its host; the longest end that fits counts. All others have their row's name.
_HOSTS = {
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "api.mistral.ai": "mistral_ai",
    "api.groq.com": "groq",
    "api.deepseek.com": "deepseek",
    "api.x.ai": "x_ai",
    "api.moonshot.ai": "moonshot_ai",
    "api.moonshot.cn": "moonshot_ai",
    "api.cohere.com": "cohere",
    "api.cohere.ai": "cohere",
    "api.perplexity.ai": "perplexity",
    "openrouter.ai": "openrouter",
    ".openai.azure.com": "azure.ai.openai",
    ".services.ai.azure.com": "azure.ai.inference",
    ".models.ai.azure.com": "azure.ai.inference",
    ".inference.ai.azure.com": "azure.ai.inference",
    ".amazonaws.com": "aws.bedrock",
    "generativelanguage.googleapis.com": "gcp.gemini",
    "aiplatform.googleapis.com": "gcp.vertex_ai",
    ".ml.cloud.ibm.com": "ibm.watsonx.ai",
}


class Peer(Struct, frozen=True):
    """A provider as OpenTelemetry sees it; the demo has no address."""

    name: str
    address: str = ""
    port: int = 0


def peer_of(name: str, row: ProviderSettings) -> Peer:
    url = urlsplit(row.base_url)
    host = url.hostname or ""
    if not host:
        return Peer(name)
    known = next((meant for end, meant in _HOSTS.items() if host == end or host.endswith(_tail(end))), name)
    return Peer(known, host, url.port or (443 if url.scheme == "https" else 80))


def peers_of(rows: Mapping[str, ProviderSettings]) -> Mapping[str, Peer]:
    return {name: peer_of(name, row) for name, row in rows.items()}


def _tail(end: str) -> str:
    """Regional hosts put something in front: eu.api.openai.com, europe-west4-aiplatform.googleapis.com."""
    return end if end[0] == "." or end.startswith("aiplatform") else f".{end}"
