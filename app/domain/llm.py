"""A request and its reply, as the gateway sees them."""

from collections.abc import AsyncGenerator, Callable
from enum import StrEnum
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from app.domain.errors import InvalidRequestError
from app.domain.usage import NO_USAGE, TokenUsage

MODEL_LENGTH = 256
MOST_CHOICES = 1024
"""Of one answer; a larger `n` is not counted by."""


class CacheStatus(StrEnum):
    HIT = "hit"
    MISS = "miss"
    COALESCED = "coalesced"
    BYPASS = "bypass"


SERVED_AGAIN = frozenset({CacheStatus.HIT, CacheStatus.COALESCED})
"""An answer that nobody had to be paid for."""


class Operation(StrEnum):
    """What is asked for; the value is the path below a provider's base URL."""

    CHAT = "chat/completions"
    COMPLETION = "completions"
    EMBEDDING = "embeddings"


class LLMRequest(Struct, frozen=True, gc=False):
    """The fields the gateway acts on, and every top-level field of the body, byte for byte.

    `fields` is what is sent: a parameter we have never heard of still reaches the provider, and
    of a duplicate key only the value that was checked.
    """

    operation: Operation
    model: str
    stream: bool
    usage_wanted: bool
    fields: dict[str, Raw]

    @classmethod
    def parse(cls, operation: Operation, body: bytes) -> "LLMRequest":
        """The request in a JSON `body`; raises InvalidRequestError naming the field that is wrong."""
        fields = _fields(body)
        model = _model(fields)
        _check_question(operation, fields)
        stream = wanted = False
        if "stream" in fields:
            stream = optional(fields, "stream", _decode_flag, "true, false or null") is True
        if "stream_options" in fields:
            options = optional(fields, "stream_options", _decode_options, "an object or null")
            wanted = options is not None and options.include_usage is True
        return cls(operation, model, stream, wanted, fields)

    @property
    def choices(self) -> int:
        """How many answers are asked for, at least 1; whether `n` may be what it is, is the provider's to say."""
        try:
            return _decode_count(self.fields["n"]) if "n" in self.fields else 1
        except msgspec.DecodeError:
            return 1

    def to_json(self, *, model: str) -> bytes:
        """The body to send upstream, `model` being the provider's own name for it.

        Usage is always asked of a stream. `cache` is a word between the caller and us.
        """
        fields = self.fields | {"model": model}
        fields.pop("cache", None)
        if self.stream and not self.usage_wanted and self.operation is not Operation.EMBEDDING:
            fields["stream_options"] = _with_usage(self.fields.get("stream_options"))
        return _encode(fields)


class Reply(Struct, kw_only=True):
    """What a handler answers: one JSON document, or a stream of whole SSE events."""

    body: bytes | AsyncGenerator[bytes, None]
    provider: str
    model: str
    usage: TokenUsage = NO_USAGE
    finish_reasons: tuple[str, ...] = ()
    complete: bool = False
    """The provider said that this is all of it: a whole JSON answer, or a stream that came to its `[DONE]`."""
    cache: CacheStatus = CacheStatus.BYPASS
    age: float | None = None
    """Seconds since a stored answer was made."""
    ttl: float | None = None
    """Seconds a stored answer has left."""
    attempts: str = ""
    seconds_upstream: float = 0.0
    seconds_connecting: float = 0.0
    """Of them, until there was a connection; 0 on one that was kept."""


T = TypeVar("T")


def optional(fields: dict[str, Raw], name: str, decode: Callable[[Raw], T], shape: str) -> T | None:
    """The decoded value of a field that need not be there; raises InvalidRequestError when it is not of its `shape`."""
    if name not in fields:
        return None
    try:
        return decode(fields[name])
    except msgspec.DecodeError:
        raise InvalidRequestError(f"{name} must be {shape}", param=name) from None


def _fields(body: bytes) -> dict[str, Raw]:
    try:
        if not body.isascii():
            body.decode()
        return _decode_fields(body)
    except msgspec.ValidationError:
        raise InvalidRequestError("the body must be a JSON object") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"the body is not JSON: {error}") from None
    except RecursionError:
        raise InvalidRequestError("the body is nested too deeply") from None


def _model(fields: dict[str, Raw]) -> str:
    model = optional(fields, "model", _decode_text, "a string")
    if model is None:
        raise InvalidRequestError("model is missing", param="model")
    if not (0 < len(model) <= MODEL_LENGTH and model.isprintable() and model == model.strip()):
        raise InvalidRequestError(f"model must be 1 to {MODEL_LENGTH} visible characters", param="model")
    return model


def _check_question(operation: Operation, fields: dict[str, Raw]) -> None:
    """Of the question itself only the first byte is looked at: what is in it is the provider's to judge."""
    name, first, shape = _QUESTIONS[operation]
    if name not in fields:
        raise InvalidRequestError(f"{name} is missing", param=name)
    if bytes(memoryview(fields[name])[:1]) not in first:
        raise InvalidRequestError(f"{name} must be {shape}", param=name)


_QUESTIONS = {
    Operation.CHAT: ("messages", (b"[",), "a list"),
    Operation.COMPLETION: ("prompt", (b"[", b'"'), "a string or a list"),
    Operation.EMBEDDING: ("input", (b"[", b'"'), "a string or a list"),
}


class _StreamOptions(Struct):
    include_usage: bool | None = None


def _with_usage(options: Raw | None) -> Raw:
    if options is None or bytes(options) == b"null":
        return Raw(b'{"include_usage":true}')
    return Raw(_encode(_decode_fields(options) | {"include_usage": True}))


_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_flag = msgspec.json.Decoder(bool | None).decode
_decode_count = msgspec.json.Decoder(Annotated[int, Meta(ge=1, le=MOST_CHOICES)]).decode
_decode_options = msgspec.json.Decoder(_StreamOptions | None).decode
_encode = msgspec.json.Encoder().encode
