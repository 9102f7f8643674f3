"""What the gateway reads of an answer: why it ended, what it used, whether it is an error after all."""

from contextlib import suppress
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from app.domain.llm import Operation, Reply
from app.domain.upstream_errors import UpstreamEmptyError, UpstreamError, UpstreamMalformedError
from app.domain.usage import NO_USAGE, TokenUsage
from app.providers.errors import ErrorReader
from app.providers.events import ERROR, FINISH_REASON, USAGE, payloads, telling, tells

MOST_TOKENS = 10**12
MOST_DOLLARS = 10**9
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""In nano dollars it still fits into the 64 bits that a stored answer has for it."""


class _Choice(Struct):
    finish_reason: Any = None


class _Document(Struct):
    choices: list[_Choice] | None = None
    data: Raw = Raw()
    usage: Raw = Raw()
    error: Raw = Raw()


class _Usage(Struct):
    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    cost: float | None = None


class _Usual(Struct):
    """A completion as nearly all are: read in one pass."""

    choices: Annotated[list[_Choice], Meta(min_length=1)]
    usage: _Usage | None = None
    error: None = None


_decode = msgspec.json.Decoder(_Document).decode
_decode_usual = msgspec.json.Decoder(_Usual).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_number = msgspec.json.Decoder(float | None).decode
_decode_usage = msgspec.json.Decoder(_Usage | None).decode


class AnswerReader:
    """Reads the answers of one provider; raises UpstreamError for one that is none."""

    def __init__(self, provider: str, errors: ErrorReader) -> None:
        self._provider = provider
        self._errors = errors

    def whole(self, operation: Operation, body: bytes, reply: Reply) -> Reply:
        """Note in `reply` what a JSON answer says of itself."""
        try:
            if not body.isascii():
                body.decode()
            if operation is not Operation.EMBEDDING and (usual := _if_usual(body)) is not None:
                reply.finish_reasons = _reasons(usual.choices)
                reply.usage = _believable(usual.usage)
                reply.complete = True
                return reply
            document = _decode(body)
        except UNREADABLE:
            raise UpstreamMalformedError(f"{self._provider}'s answer is not JSON", provider=self._provider) from None
        if _is_there(document.error):
            raise self._errors.from_body(body)
        if operation is Operation.EMBEDDING:
            self._check_filled(document.data)
        elif document.choices is None:
            raise UpstreamMalformedError(f"{self._provider}'s answer has no choices", provider=self._provider)
        elif not document.choices:
            raise UpstreamEmptyError(f"{self._provider}'s answer is empty", provider=self._provider)
        else:
            reply.finish_reasons = _reasons(document.choices)
        reply.usage = usage_of(document.usage)
        reply.complete = True
        return reply

    def stream(self, events: bytes, reply: Reply) -> tuple[bytes, UpstreamError | None]:
        """The events before one that is an error, and that error.

        What they say of the answer's end is noted in `reply`; most say nothing, and are not parsed.
        """
        if not (tells(events, USAGE) or tells(events, FINISH_REASON) or tells(events, ERROR)):
            return events, None
        for begin, end in telling(events, USAGE, FINISH_REASON, ERROR):
            if (error := self._noted(events[begin:end], reply)) is not None:
                return events[:begin], error
        return events, None

    def _noted(self, event: bytes, reply: Reply) -> UpstreamError | None:
        for payload in payloads(event):
            try:
                document = _decode(payload)
            except UNREADABLE:
                continue
            if _is_there(document.error):
                return self._errors.from_body(payload)
            if _is_there(document.usage):
                reply.usage = usage_of(document.usage)
            reply.finish_reasons += tuple(
                str(each.finish_reason) for each in document.choices or () if each.finish_reason
            )
        return None

    def _check_filled(self, data: Raw) -> None:
        start = bytes(memoryview(data)[:64]).translate(None, b" \r\n\t")
        if not start.startswith(b"["):
            raise UpstreamMalformedError(f"{self._provider}'s answer has no data", provider=self._provider)
        if start.startswith(b"[]"):
            raise UpstreamEmptyError(f"{self._provider}'s answer is empty", provider=self._provider)


def usage_of(raw: Raw) -> TokenUsage:
    """What a provider says it used; what cannot be true is brought to what can."""
    try:
        said = _decode_usage(raw) if _is_there(raw) else None
    except UNREADABLE:
        said = _field_by_field(raw)
    return _believable(said)


def _believable(said: _Usage | None) -> TokenUsage:
    if said is None:
        return NO_USAGE
    prompt, completion, cost = said.prompt_tokens or 0, said.completion_tokens or 0, said.cost
    if not (0 <= prompt < MOST_TOKENS and 0 <= completion < MOST_TOKENS):
        prompt, completion = min(max(prompt, 0), MOST_TOKENS), min(max(completion, 0), MOST_TOKENS)
    nano = None if cost is None or not 0 <= cost < MOST_DOLLARS else round(cost * 1e9)
    return TokenUsage(int(prompt), int(completion), nano)


def _reasons(choices: list[_Choice]) -> tuple[str, ...]:
    if len(choices) == 1:
        return (str(choices[0].finish_reason or ""),)
    return tuple(str(each.finish_reason or "") for each in choices)


def _if_usual(body: bytes) -> _Usual | None:
    try:
        return _decode_usual(body)
    except msgspec.ValidationError:
        return None


def _field_by_field(raw: Raw) -> _Usage | None:
    """One odd field does not cost the others."""
    try:
        fields = _decode_fields(raw)
    except UNREADABLE:
        return None
    said = _Usage()
    for name in said.__struct_fields__:
        with suppress(*UNREADABLE):
            setattr(said, name, _decode_number(fields.get(name, Raw(b"null"))))
    return said


def _is_there(raw: Raw) -> bool:
    return bytes(memoryview(raw)[:5]) not in {b"", b"null"}
