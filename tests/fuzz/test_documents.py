"""Answers of providers as JSON or packed: usage that can be, an error of ours, never a key of ours, never too much."""

import zlib

from app.domain.llm import Operation, Reply
from app.domain.redaction import Redactor
from app.domain.upstream_errors import UpstreamError
from app.domain.usage import TokenUsage
from app.providers.errors import LONGEST_MESSAGE, ErrorReader
from app.providers.reading import MOST_DOLLARS, MOST_TOKENS, AnswerReader
from app.providers.upstream.base import Answer
from app.providers.upstream.inflating import Inflater, InflatingError
from tests.fuzz.mutating import fuzzed, pieces

SECRET = "sk-secret-0123456789"  # noqa: S105 - so that it can be looked for
ERRORS = ErrorReader("p", Redactor([SECRET]))
LIMIT = 5000


def check_usage(usage: TokenUsage) -> None:
    assert 0 <= usage.prompt_tokens <= MOST_TOKENS
    assert 0 <= usage.completion_tokens <= MOST_TOKENS
    assert usage.cost_nano_usd is None or 0 <= usage.cost_nano_usd <= MOST_DOLLARS * 10**9


def check_error(error: UpstreamError) -> None:
    for text in (error.message, error.type, error.code or "", error.param or ""):
        assert SECRET not in text
        assert len(text) <= LONGEST_MESSAGE + 100
    assert 400 <= error.status_code < 600


@fuzzed("documents")
def test_a_whole_answer_is_read_or_an_error_of_ours(data: bytes) -> None:
    for operation in Operation:
        reply = Reply(body=data, provider="p", model="m")
        try:
            AnswerReader("p", ERRORS).whole(operation, data, reply)
        except UpstreamError as error:
            check_error(error)
            assert not reply.complete
        else:
            assert reply.complete
        check_usage(reply.usage)


@fuzzed("documents")
def test_events_are_read_or_end_in_an_error_of_ours(data: bytes) -> None:
    events = b"data: " + data.replace(b"\n", b"").replace(b"\r", b"") + b"\n\ndata: {}\n\n"
    reply = Reply(body=b"", provider="p", model="m")

    kept, error = AnswerReader("p", ERRORS).stream(events, reply)

    assert events.startswith(kept)
    assert (kept == events) is (error is None)
    if error is not None:
        check_error(error)
    check_usage(reply.usage)


@fuzzed("documents")
def test_an_error_of_a_provider_is_one_of_ours_and_tells_no_key(data: bytes) -> None:
    for status in (300, 400, 401, 402, 404, 408, 413, 418, 429, 499, 500, 503, 529, 599):
        error = ERRORS.from_answer(Answer(status, [], data))
        check_error(error)
        assert error.status_code == status or not 400 <= status < 500 or status in {401, 402, 403, 408, 425}
    check_error(ERRORS.from_body(data))


@fuzzed("packed", split=True)
def test_what_is_packed_is_unpacked_as_zlib_would_and_never_beyond_the_limit(data: bytes, places: list[int]) -> None:
    reference = zlib.decompressobj(47)
    try:
        expected: bytes | None = reference.decompress(data, LIMIT + 1)
    except zlib.error:
        expected = None
    inflater = Inflater(LIMIT)
    found = b""
    try:
        for piece in pieces(data, places):
            found += inflater.feed(piece)
    except InflatingError:
        assert expected is None or len(expected) > LIMIT or reference.unused_data
        return
    assert len(found) <= LIMIT
    assert found == expected
    assert inflater.ended == reference.eof
