"""A provider without a model behind it, so that the first command has something to answer with."""

import asyncio
import base64
import math
import re
import struct
import time
from collections.abc import AsyncGenerator, Sequence
from hashlib import sha256
from typing import Any

import msgspec

from app.domain.llm import LLMRequest, Operation, Reply
from app.domain.upstream_errors import UpstreamNotFoundError, UpstreamRejectedError
from app.domain.usage import TokenUsage

MODEL = "demo"
TEXT = (
    "This is Signalbox's built-in demo; no language model answered. "
    "Set a provider key, such as OPENROUTER_API_KEY, and start again."
)
SECONDS_PER_WORD = 0.02
DIMENSIONS = 8

_encode = msgspec.json.Encoder().encode


class DemoProvider:
    """Answers `TEXT` to everything, in every shape it may be asked for; says `demo` in each answer."""

    kind = "demo"
    endpoint = ""
    prefix_only = False
    critical = False

    def __init__(self, *, name: str) -> None:
        self.name = name

    async def answer(self, request: LLMRequest, *, model: str, lines: bytes = b"") -> Reply:
        if model != MODEL:
            raise UpstreamNotFoundError(f"the demo has one model, {MODEL!r}", provider=self.name, status=404)
        size = sum(len(bytes(each)) for each in request.fields.values())
        words = 0 if request.operation is Operation.EMBEDDING else len(TEXT.split())
        usage = TokenUsage(prompt_tokens=size // 4 + 1, completion_tokens=words)
        reply = Reply(body=b"", provider=self.name, model=request.model, usage=usage)
        if request.operation is Operation.EMBEDDING:
            reply.body = _encode(_embeddings(request, usage))
        elif request.stream:
            reply.body = self._events(request.operation, reply)
            return reply
        else:
            reply.body = _encode(_document(request.operation, TEXT, "stop") | {"usage": _usage(usage)})
            reply.finish_reasons = ("stop",)
        reply.complete = True
        return reply

    async def ping(self) -> str:
        return ""

    def load(self) -> None:
        return None

    async def models(self) -> Sequence[dict[str, Any]]:
        return [{"id": MODEL, "description": TEXT}]

    async def _events(self, operation: Operation, reply: Reply) -> AsyncGenerator[bytes, None]:
        same = {name: _document(operation, "", None)[name] for name in ("id", "created")}
        for word in re.findall(r"\S+ ?", TEXT):
            yield _event(_chunk(operation, word, None) | same)
            await asyncio.sleep(SECONDS_PER_WORD)
        yield _event(_chunk(operation, "", "stop") | same)
        yield _event(_chunk(operation, "", None) | same | {"choices": [], "usage": _usage(reply.usage)})
        reply.finish_reasons = ("stop",)
        reply.complete = True


def _event(document: dict[str, Any]) -> bytes:
    return b"data: " + _encode(document) + b"\n\n"


def _document(operation: Operation, text: str, finish_reason: str | None) -> dict[str, Any]:
    chat = operation is Operation.CHAT
    said = {"message": {"role": "assistant", "content": text}} if chat else {"text": text, "logprobs": None}
    return {
        "id": f"demo-{time.time_ns():x}",
        "object": "chat.completion" if chat else "text_completion",
        "created": int(time.time()),
        "model": MODEL,
        "choices": [{"index": 0, **said, "finish_reason": finish_reason}],
    }


def _chunk(operation: Operation, text: str, finish_reason: str | None) -> dict[str, Any]:
    document = _document(operation, text, finish_reason)
    if operation is Operation.CHAT:
        document["object"] = "chat.completion.chunk"
        document["choices"][0]["delta"] = document["choices"][0].pop("message")
    return document


def _usage(usage: TokenUsage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }


def _embeddings(request: LLMRequest, usage: TokenUsage) -> dict[str, Any]:
    """A vector of length 1 made of the input's digest: the same text has the same one, and that is all it means."""
    try:
        asked = msgspec.json.decode(request.fields["input"])
    except (msgspec.DecodeError, RecursionError) as error:
        raise UpstreamRejectedError(f"input: {error}", provider=MODEL, status=400, param="input") from None
    inputs = asked if isinstance(asked, list) and not (asked and isinstance(asked[0], int)) else [asked]
    in_base64 = bytes(request.fields.get("encoding_format", msgspec.Raw(b""))) == b'"base64"'
    data = []
    for index, each in enumerate(inputs):
        numbers = [byte - 127.5 for byte in sha256(_encode(each)).digest()[:DIMENSIONS]]
        length = math.sqrt(sum(number * number for number in numbers))
        vector: Any = [number / length for number in numbers]
        if in_base64:
            vector = base64.b64encode(struct.pack(f"<{DIMENSIONS}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    return {"object": "list", "model": MODEL, "notice": TEXT, "data": data, "usage": _usage(usage)}
