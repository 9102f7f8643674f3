"""OpenRouter, OpenAI, vLLM, Groq: whoever speaks OpenAI's API is a row in config, not a class."""

import re
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import msgspec

from app.domain.llm import LLMRequest, Operation, Reply
from app.domain.redaction import Redactor
from app.domain.upstream_errors import UpstreamEmptyError, UpstreamMalformedError
from app.providers.endpoints import endpoint_of
from app.providers.errors import ErrorReader
from app.providers.reading import AnswerReader
from app.providers.streaming import EventStream
from app.providers.upstream.base import Answer, Exchange, Load, Upstream
from app.settings import ProviderSettings

NO_STREAMS = (b"application/json", b"text/html", b"application/problem+json")
LONGEST_ERROR = 64 * 1024
VERSION = re.compile(r"[0-9A-Za-z.+-]{1,32}")
"""It becomes a label of a metric: other text is none."""


class OpenAICompatibleProvider:
    """`UNDER` stands before each path, for who has a language of its own beside OpenAI's."""

    UNDER = ""

    def __init__(self, *, name: str, row: ProviderSettings, upstream: Upstream, redact: Redactor) -> None:
        self.name = name
        self.kind: str = row.kind
        self.endpoint = endpoint_of(row.base_url)
        self.prefix_only = row.prefix_only
        self.critical = row.critical
        self._listed = row.models
        self._paths = {operation: f"{self.UNDER}{operation}" for operation in Operation}
        self._upstream = upstream
        self._errors = ErrorReader(name, redact)
        self._reader = AnswerReader(name, self._errors)

    async def answer(self, request: LLMRequest, *, model: str, lines: bytes = b"") -> Reply:
        body = request.to_json(model=model)
        if request.stream and request.operation is not Operation.EMBEDDING:
            return await self._stream(request, body, lines)
        answer = await self._upstream.send("POST", self._paths[request.operation], body, lines)
        if answer.status >= 300:
            raise self._errors.from_answer(answer)
        reply = Reply(body=answer.body, provider=self.name, model=request.model, seconds_connecting=answer.connecting)
        return self._reader.whole(request.operation, answer.body, reply)

    async def ping(self) -> str:
        await self._asked_for_models()
        return ""

    def load(self) -> Load:
        return self._upstream.load()

    async def models(self) -> Sequence[dict[str, Any]]:
        if self._listed:
            return [{"id": model} for model in self._listed]
        return await self._asked_for_models()

    async def _asked_for_models(self) -> Sequence[dict[str, Any]]:
        answer = await self._upstream.send("GET", f"{self.UNDER}models")
        if answer.status >= 300:
            raise self._errors.from_answer(answer)
        try:
            listed = _decode_models(answer.body).data
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise UpstreamMalformedError("the list of models is not OpenAI's", provider=self.name) from None
        return [each for each in listed if isinstance(each.get("id"), str)]

    async def _stream(self, request: LLMRequest, body: bytes, lines: bytes) -> Reply:
        exchange = await self._upstream.open("POST", self._paths[request.operation], body, lines)
        reply = Reply(body=b"", provider=self.name, model=request.model, seconds_connecting=exchange.connecting)
        stream = EventStream(exchange, self._reader, reply, choices=request.choices)
        try:
            first = await self._first(request, exchange, stream, reply)
        except BaseException:
            exchange.close()
            raise
        reply.body = _events(first, stream, reply)
        return reply

    async def _first(self, request: LLMRequest, exchange: Exchange, stream: EventStream, reply: Reply) -> bytes:
        """The first events: until they are here a failure is an ordinary one, and another target may be asked."""
        if exchange.status >= 300:
            raise self._errors.from_answer(await _short(exchange))
        if _content_type(exchange).startswith(NO_STREAMS):
            self._reader.whole(request.operation, (await _short(exchange)).body, reply)
            raise UpstreamMalformedError(f"{self.name} sent no stream", provider=self.name)
        if events := await stream.next():
            return events
        raise UpstreamEmptyError(f"{self.name}'s stream was empty", provider=self.name)


async def _events(events: bytes, stream: EventStream, reply: Reply) -> AsyncGenerator[bytes, None]:
    try:
        while events:
            yield events
            events = await stream.next()
        reply.complete = stream.done
    finally:
        stream.close()


def _content_type(exchange: Exchange) -> bytes:
    return next((value.lower() for name, value in exchange.headers if name.lower() == b"content-type"), b"")


async def _short(exchange: Exchange) -> Answer:
    """A whole answer where a stream was asked for: an error, or somebody who cannot stream."""
    pieces: list[bytes] = []
    while sum(map(len, pieces)) < LONGEST_ERROR and (piece := await exchange.read()):
        pieces.append(piece)
    return Answer(exchange.status, exchange.headers, b"".join(pieces)[:LONGEST_ERROR])


class _Models(msgspec.Struct):
    data: list[dict[str, Any]]


_decode_models = msgspec.json.Decoder(_Models).decode


class OllamaProvider(OpenAICompatibleProvider):
    """Its own `/api/version` is a cheaper question than the list of its models, and tells the version."""

    UNDER = "v1/"

    async def ping(self) -> str:
        answer = await self._upstream.send("GET", "api/version")
        if answer.status >= 300:
            raise self._errors.from_answer(answer)
        try:
            version = _decode_version(answer.body).version
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise UpstreamMalformedError("the version is not Ollama's", provider=self.name) from None
        return version if VERSION.fullmatch(version) else ""


class _Version(msgspec.Struct):
    version: str


_decode_version = msgspec.json.Decoder(_Version).decode
