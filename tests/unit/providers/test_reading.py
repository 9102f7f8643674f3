"""What is read of an answer, and what of it is believed."""

import json
from typing import Any

import pytest
from msgspec import Raw

from app.domain import upstream_errors as errors
from app.domain.llm import Operation, Reply
from app.domain.redaction import Redactor
from app.domain.usage import NO_USAGE, TokenUsage
from app.providers.errors import ErrorReader
from app.providers.reading import MOST_TOKENS, AnswerReader, usage_of

READER = AnswerReader("acme", ErrorReader("acme", Redactor([])))


def fresh() -> Reply:
    return Reply(body=b"", provider="acme", model="m")


def whole(body: Any, operation: Operation = Operation.CHAT) -> Reply:
    said = body if isinstance(body, bytes) else json.dumps(body).encode()
    return READER.whole(operation, said, fresh())


def event(document: Any) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def tokens(prompt: int, completion: int = 0, cost: int | None = None) -> TokenUsage:
    return TokenUsage(prompt_tokens=prompt, completion_tokens=completion, cost_nano_usd=cost)


@pytest.mark.parametrize(
    ("said", "usage"),
    [
        (b'{"prompt_tokens":5,"completion_tokens":7,"total_tokens":99}', tokens(5, 7)),
        (b'{"prompt_tokens":-5,"completion_tokens":3}', tokens(0, 3)),
        (b'{"prompt_tokens":3,"completion_tokens":-1}', tokens(3, 0)),
        (b'{"prompt_tokens":1000000000000000000,"completion_tokens":1}', tokens(MOST_TOKENS, 1)),
        (b'{"completion_tokens":1000000000000000000}', tokens(0, MOST_TOKENS)),
        (b'{"prompt_tokens":' + b"9" * 40 + b"}", tokens(MOST_TOKENS)),
        (b'{"prompt_tokens":null,"completion_tokens":2}', tokens(0, 2)),
        (b'{"prompt_tokens":2}', tokens(2)),
        (b'{"prompt_tokens":"12"}', NO_USAGE),
        (b'{"prompt_tokens":' + b"9" * 5000 + b"}", NO_USAGE),
        (b"{}", NO_USAGE),
        (b"[]", NO_USAGE),
        (b'"12"', NO_USAGE),
        (b"null", NO_USAGE),
        (b"", NO_USAGE),
        (b'{"x":' + b"[" * 100_000, NO_USAGE),
    ],
    ids=str,
)
def test_usage_is_brought_to_what_can_be(said: bytes, usage: TokenUsage) -> None:
    assert usage_of(Raw(said)) == usage


@pytest.mark.parametrize(
    ("cost", "nano"),
    [
        ("0.00014", 140_000),
        ("0.000000001", 1),
        ("0", 0),
        ("2", 2 * 10**9),
        ("-1", None),
        ("null", None),
        ("1e300", None),
        ("5e10", None),
    ],
)
def test_the_cost_is_kept_in_billionths_of_a_dollar(cost: str, nano: int | None) -> None:
    assert usage_of(Raw(f'{{"prompt_tokens":1,"cost":{cost}}}'.encode())) == tokens(1, cost=nano)


@pytest.mark.parametrize("odd", [b'"cost":"0.1"', b'"cost":{"total":1}', b'"cost":1e400', b'"completion_tokens":5.5'])
def test_a_field_that_cannot_be_read_costs_only_itself(odd: bytes) -> None:
    assert usage_of(Raw(b'{"prompt_tokens":5,' + odd + b"}")).prompt_tokens == 5


def test_a_json_answer_is_read() -> None:
    choices = [{"finish_reason": "stop"}, {"finish_reason": "length"}, {"finish_reason": None}, {}]

    reply = whole({"choices": choices, "usage": {"prompt_tokens": 5, "completion_tokens": 7}, "error": None})

    assert reply.finish_reasons == ("stop", "length", "", "")
    assert reply.usage == tokens(5, 7)
    assert reply.complete


def test_an_answer_without_usage_is_an_answer() -> None:
    reply = whole({"choices": [{"finish_reason": "stop"}]})

    assert reply.usage == NO_USAGE
    assert reply.complete


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", errors.UpstreamMalformedError),
        (b"<html>", errors.UpstreamMalformedError),
        (b'{"choices":[{', errors.UpstreamMalformedError),
        (b'{"choices":[{}],"x":"\xff"}', errors.UpstreamMalformedError),
        (b"[]", errors.UpstreamMalformedError),
        (b"null", errors.UpstreamMalformedError),
        (b"{}", errors.UpstreamMalformedError),
        (b'{"choices":null}', errors.UpstreamMalformedError),
        (b'{"choices":{}}', errors.UpstreamMalformedError),
        (b'{"choices":[{}],"x":' + b"[" * 100_000, errors.UpstreamMalformedError),
        (b'{"choices":[]}', errors.UpstreamEmptyError),
        (b'{"error":{"message":"no","code":429}}', errors.UpstreamRateLimitedError),
        (b'{"choices":[{}],"error":{"message":"no"}}', errors.UpstreamError),
        (b'{"error":"no"}', errors.UpstreamError),
    ],
)
def test_what_is_no_answer_is_an_error(body: bytes, kind: type[errors.UpstreamError]) -> None:
    with pytest.raises(kind) as caught:
        whole(body)

    assert type(caught.value) is kind
    assert caught.value.provider == "acme"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (None, errors.UpstreamMalformedError),
        (b"null", errors.UpstreamMalformedError),
        (b"{}", errors.UpstreamMalformedError),
        (b'"[1]"', errors.UpstreamMalformedError),
        (b"[]", errors.UpstreamEmptyError),
        (b"[ \n\t ]", errors.UpstreamEmptyError),
    ],
)
def test_embeddings_need_data(data: bytes | None, kind: type[errors.UpstreamError]) -> None:
    body = b"{}" if data is None else b'{"data":' + data + b"}"

    with pytest.raises(kind):
        whole(body, Operation.EMBEDDING)


def test_embeddings_are_read() -> None:
    reply = whole(b'{"usage":{"prompt_tokens":4},"data":[ {"embedding":[0.1],"finish_reason":1}]}', Operation.EMBEDDING)

    assert reply.usage == tokens(4)
    assert reply.complete
    assert reply.finish_reasons == ()


def test_a_streams_end_is_noted_and_its_bytes_are_left_alone() -> None:
    reply = fresh()
    events = (
        event({"choices": [{"finish_reason": None}, {"finish_reason": "stop"}], "usage": None})
        + event({"choices": [{"finish_reason": "length"}], "error": None})
        + b'id: 7\ndata:{"choices":[],\ndata:"usage":{"prompt_tokens":5,"completion_tokens":7}}\n\n'
    )

    left, error = READER.stream(events, reply)

    assert (left, error) == (events, None)
    assert reply.finish_reasons == ("stop", "length")
    assert reply.usage == tokens(5, 7)
    assert not reply.complete


def test_a_later_null_does_not_take_the_usage_back() -> None:
    reply = fresh()

    READER.stream(event({"usage": {"prompt_tokens": 5}}) + event({"usage": None, "choices": []}), reply)

    assert reply.usage == tokens(5)


def test_an_error_in_a_stream_comes_with_the_events_before_it_and_nothing_after_it_is_read() -> None:
    reply = fresh()
    before = event({"choices": [{"finish_reason": None}]})
    broken = event({"error": {"message": "no", "code": 429}})

    left, error = READER.stream(before + broken + event({"usage": {"prompt_tokens": 5}}), reply)

    assert left == before
    assert type(error) is errors.UpstreamRateLimitedError
    assert reply.usage == NO_USAGE


@pytest.mark.parametrize(
    "odd",
    [
        b'data: {"usage": nonsense\n\n',
        b'data: {"finish_reason":\xff}\n\n',
        b"data: " + b'{"error":' * 100_000 + b"\n\n",
        b'event: "error"\n\n',
        b'data: {"choices":[{"delta":{"content":"\\"error\\":"}}]}\n\n',
    ],
)
def test_an_event_that_cannot_be_read_is_passed_on(odd: bytes) -> None:
    reply = fresh()

    assert READER.stream(odd, reply) == (odd, None)
    assert (reply.usage, reply.finish_reasons) == (NO_USAGE, ())
