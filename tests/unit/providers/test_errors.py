"""What a provider's refusal becomes."""

import json
import time
from email.utils import formatdate
from typing import Any

import pytest

from app.domain import upstream_errors as errors
from app.domain.redaction import Redactor
from app.providers.errors import LONGEST_MESSAGE, ErrorReader, retry_after_of
from app.providers.upstream.base import Answer

KEY = "sk-secret-0123"


def reader() -> ErrorReader:
    return ErrorReader("acme", Redactor([KEY]))


def answer(status: int, body: Any = b"", **headers: str) -> Answer:
    said = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = [(name.replace("_", "-").title().encode(), value.encode()) for name, value in headers.items()]
    return Answer(status, named, said)


def read(status: int, body: Any = b"", **headers: str) -> errors.UpstreamError:
    return reader().from_answer(answer(status, body, **headers))


@pytest.mark.parametrize(
    ("status", "kind", "told", "retry"),
    [
        (301, errors.UpstreamMalformedError, 502, False),
        (307, errors.UpstreamMalformedError, 502, False),
        (400, errors.UpstreamRejectedError, 400, False),
        (401, errors.UpstreamAuthError, 502, False),
        (402, errors.UpstreamAuthError, 502, False),
        (403, errors.UpstreamForbiddenError, 502, False),
        (404, errors.UpstreamNotFoundError, 404, False),
        (408, errors.UpstreamTimeoutError, 504, False),
        (409, errors.UpstreamRejectedError, 409, False),
        (413, errors.UpstreamRejectedError, 413, False),
        (422, errors.UpstreamRejectedError, 422, False),
        (425, errors.UpstreamTimeoutError, 504, False),
        (429, errors.UpstreamRateLimitedError, 429, False),
        (499, errors.UpstreamRejectedError, 499, False),
        (500, errors.UpstreamFailedError, 502, True),
        (501, errors.UpstreamError, 502, False),
        (502, errors.UpstreamFailedError, 502, True),
        (503, errors.UpstreamFailedError, 502, True),
        (504, errors.UpstreamTimeoutError, 504, False),
        (505, errors.UpstreamError, 502, False),
        (524, errors.UpstreamError, 502, False),
        (529, errors.UpstreamFailedError, 502, True),
        (999, errors.UpstreamError, 502, False),
    ],
)
def test_a_status_has_its_error(status: int, kind: type[errors.UpstreamError], told: int, retry: bool) -> None:  # noqa: FBT001 - a column
    error = read(status, {"error": {"message": "no"}})

    assert type(error) is kind
    assert (error.status_code, error.retry, error.provider) == (told, retry, "acme")
    assert error.detail == f"status {status}"


def test_too_long_a_context_is_told_by_the_code() -> None:
    error = read(400, {"error": {"message": "too long", "code": "context_length_exceeded", "param": "messages"}})

    assert type(error) is errors.ContextLengthError
    assert (error.message, error.code, error.param) == ("too long", "context_length_exceeded", "messages")


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "bad top_p", "type": "odd", "code": "c7", "param": "top_p"}},
        [{"error": {"message": "bad top_p", "type": "odd", "code": "c7", "param": "top_p"}}],
        {"object": "error", "message": "bad top_p", "type": "odd", "code": "c7", "param": "top_p"},
    ],
)
def test_the_four_fields_are_found_in_every_shape_that_has_them(body: Any) -> None:
    error = read(400, body)

    assert (error.message, error.type, error.code, error.param) == ("bad top_p", "odd", "c7", "top_p")


@pytest.mark.parametrize(
    "body",
    [{"error": "it broke"}, ["it broke"], "it broke", {"detail": "it broke"}, {"error": {"message": "it broke"}}],
)
def test_a_bare_sentence_is_the_message(body: Any) -> None:
    error = read(422, body)

    assert (error.message, error.type, error.code, error.param) == ("it broke", "invalid_request_error", None, None)


def test_a_number_as_code_is_told_as_text() -> None:
    assert read(400, {"error": {"message": "no", "code": 1214}}).code == "1214"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>Bad Gateway</body></html>",
        b'{"error":',
        b"\xff\xfe",
        b"[]",
        b"[[]]",
        b"null",
        b"7",
        b"true",
        b'{"error":null}',
        b'{"error":[]}',
        b'{"error":{"message":{"a":1}}}',
        b'{"error":{"message":true}}',
        b'{"error":{"message":"\\ud800"}}',
        b'{"error":{"code":' + b"9" * 5000 + b"}}",
        b"[" * 100_000,
    ],
)
@pytest.mark.parametrize("status", [422, 500])
def test_what_says_nothing_readable_is_told_by_its_status(status: int, body: bytes) -> None:
    error = read(status, body)

    assert error.message == f"acme answered {status}"


def test_a_message_is_cut() -> None:
    error = read(500, {"error": {"message": "x" * 100_000}})

    assert error.message == "x" * LONGEST_MESSAGE


def test_no_key_of_ours_is_in_any_field() -> None:
    said = f"key {KEY} is wrong"

    error = read(400, {"error": {"message": said, "type": said, "code": said, "param": said}})

    assert [error.message, error.type, error.code, error.param] == ["key *** is wrong"] * 4


def test_a_key_across_the_cut_leaves_no_half_behind() -> None:
    error = read(500, {"error": "x" * (LONGEST_MESSAGE - 5) + KEY})

    assert error.message == "x" * (LONGEST_MESSAGE - 5) + "***"


def test_of_refused_credentials_nothing_is_told_but_the_status() -> None:
    error = read(401, {"error": {"message": "Incorrect API key provided: sk-se***23", "code": "invalid_api_key"}})

    assert error.message == "acme refused our credentials (status 401)"
    assert error.code == "upstream_auth"


def test_a_redirect_points_at_the_configuration() -> None:
    assert "base_url" in read(308, b"<html>moved</html>").message


@pytest.mark.parametrize("status", [408, 429, 500, 503, 504])
def test_when_to_come_back_is_passed_on(status: int) -> None:
    assert read(status, retry_after="7").retry_after == 7


def test_a_rate_limit_that_says_when_may_be_asked_again() -> None:
    assert read(429, retry_after="7").retry
    assert not read(429).retry


@pytest.mark.parametrize(
    ("code", "kind", "told"),
    [
        (429, errors.UpstreamRateLimitedError, 429),
        (400, errors.UpstreamRejectedError, 400),
        (404, errors.UpstreamNotFoundError, 404),
        (401, errors.UpstreamAuthError, 502),
        (504, errors.UpstreamTimeoutError, 504),
        (502, errors.UpstreamError, 502),
        (200, errors.UpstreamError, 502),
        (600, errors.UpstreamError, 502),
        ("server_error", errors.UpstreamError, 502),
        (None, errors.UpstreamError, 502),
    ],
)
def test_inside_an_answer_the_code_may_be_the_status(code: Any, kind: type[errors.UpstreamError], told: int) -> None:
    error = reader().from_body(json.dumps({"error": {"message": "no", "code": code}}).encode())

    assert type(error) is kind
    assert error.status_code == told
    assert error.message == ("acme refused our credentials (status 401)" if code == 401 else "no")
    assert not error.retry


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5", 5),
        (" 5 ", 5),
        ("0", 0),
        ("1.5", 1.5),
        ("-3", 0),
        ("-inf", 0),
        ("nan", None),
        ("inf", None),
        ("1e10", None),
        ("9" * 400, None),
        ("", None),
        ("soon", None),
        ("0x10", None),
        ("5 seconds", None),
        ("Wed, 99 Xxx 2099", None),
        ("Wed, 21 Oct 1999 07:28:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", None),
        ("Wed, 21 Oct 2015 07:28:00 +9999", None),
    ],
)
def test_retry_after_is_seconds_or_nothing(text: str, seconds: float | None) -> None:
    assert retry_after_of(answer(429, retry_after=text)) == seconds


def test_retry_after_may_be_a_date() -> None:
    wait = retry_after_of(answer(429, retry_after=formatdate(time.time() + 90, usegmt=True)))

    assert wait is not None
    assert 80 < wait <= 90


@pytest.mark.parametrize(
    ("text", "seconds"), [("1500", 1.5), ("0", 0), ("-5", 7), ("1.5", 7), ("soon", 7), ("9" * 12, 7)]
)
def test_milliseconds_come_first_where_they_can_be_read(text: str, seconds: float) -> None:
    assert retry_after_of(answer(429, retry_after="7", retry_after_ms=text)) == seconds


def test_without_the_header_nothing_is_known() -> None:
    assert retry_after_of(answer(429)) is None


def test_a_403_is_told_in_the_providers_words_and_tells_nothing_against_it() -> None:
    flagged = read(403, {"error": {"message": "your input was flagged"}})

    assert flagged.message == "acme refused it: your input was flagged (status 403)"
    assert not flagged.hurts
    assert read(403).message == "acme refused it, or our credentials (status 403)"


def test_only_a_401_of_its_own_says_that_our_key_is_refused_whatever_the_model() -> None:
    refused = {"error": {"message": "no", "code": 401}}

    assert [read(status, refused).of_all_models for status in (401, 402, 403, 404, 500)] == [True, *[False] * 4]
    assert not reader().from_body(json.dumps(refused).encode()).of_all_models
