"""What the gateway asks of a provider."""

from collections.abc import Sequence
from typing import Any, Protocol

from app.domain.llm import LLMRequest, Reply
from app.providers.upstream.base import Load


class Provider(Protocol):
    """One upstream that can answer chat, completion and embedding requests.

    Every failure leaves an adapter as an `UpstreamError`. The first event of a stream has arrived when
    `answer` returns; the items of a stream are whole SSE events, payloads as the provider sent them, line
    ends LF, comments and `[DONE]` removed. What it knows of usage and finish reasons stands in the reply,
    for a stream once it has ended.
    """

    name: str
    kind: str
    endpoint: str
    """Its address without `/v1` and credentials; empty for one in this process."""
    prefix_only: bool
    critical: bool

    async def answer(self, request: LLMRequest, *, model: str, lines: bytes = b"") -> Reply:
        """`lines` are whole header lines of this one request's own, each with its end."""
        ...

    async def models(self) -> Sequence[dict[str, Any]]:
        """The models it lists, as OpenAI's model objects with at least an `id`; costs nothing to ask."""
        ...

    async def ping(self) -> str:
        """Its version, where it tells one: by the cheapest question there is, which is free; raises UpstreamError."""
        ...

    def load(self) -> Load | None:
        """What its connections are doing; None for who needs none."""
        ...
