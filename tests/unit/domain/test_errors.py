"""The tree of errors: each class a whole row, no word outside the vocabulary."""

from collections.abc import Iterator
from types import new_class
from typing import Any

import pytest

from app.domain import upstream_errors
from app.domain.errors import (
    OF_CALLERS,
    OF_NO_PROVIDER,
    Failure,
    GatewayError,
    MethodNotAllowedError,
    NotFoundError,
    RequestError,
)

COLUMNS = {"word": "not_found", "status": 404, "type": "invalid_request_error", "code": "not_found", "fallback": False}


def classes(root: type[GatewayError] = GatewayError) -> Iterator[type[GatewayError]]:
    for each in root.__subclasses__():
        if each.__module__.startswith("app."):
            yield each
            yield from classes(each)


ALL = sorted(classes(), key=lambda each: each.__name__)


@pytest.mark.parametrize("error", ALL)
def test_a_class_states_its_whole_row_itself(error: type[GatewayError]) -> None:
    stated = vars(error)

    assert {"word", "status_code", "type", "code", "fallback"} <= stated.keys()
    assert isinstance(stated["word"], Failure)
    assert 400 <= stated["status_code"] < 600


@pytest.mark.parametrize("column", sorted(COLUMNS))
@pytest.mark.parametrize("base", [GatewayError, NotFoundError, upstream_errors.UpstreamRejectedError])
def test_a_class_that_leaves_a_column_out_cannot_be(base: type[GatewayError], column: str) -> None:
    row = {name: value for name, value in COLUMNS.items() if name != column}

    with pytest.raises(TypeError, match=column):
        new_class("Half", (base,), row)


def test_a_word_outside_the_vocabulary_cannot_be() -> None:
    with pytest.raises(ValueError, match="no_such_word"):
        new_class("Odd", (GatewayError,), COLUMNS | {"word": "no_such_word"})


def test_what_a_class_states_is_what_it_says() -> None:
    made: Any = new_class("Whole", (upstream_errors.UpstreamError,), COLUMNS)
    error = made("gone", provider="p", retry_after=3)

    assert (error.word, error.status_code, error.type, error.code, error.fallback) == (
        Failure.NOT_FOUND,
        404,
        "invalid_request_error",
        "not_found",
        False,
    )
    assert (str(error), error.message, error.param, error.retry_after) == ("gone", "gone", None, 3)


def test_an_error_nobody_foresaw_is_ours() -> None:
    error = GatewayError("broken")

    assert (error.word, error.status_code, error.type, error.code, error.fallback) == (
        Failure.INTERNAL,
        500,
        "server_error",
        "internal_error",
        False,
    )


def test_a_rate_limit_is_asked_again_only_when_it_says_when() -> None:
    told = upstream_errors.UpstreamRateLimitedError("slow", provider="p", retry_after=0.0)
    silent = upstream_errors.UpstreamRateLimitedError("slow", provider="p")

    assert told.retry
    assert not silent.retry


def test_what_a_caller_did_wrong_does_not_hurt_the_provider() -> None:
    branch = [each for each in ALL if issubclass(each, upstream_errors.UpstreamError)]

    assert not upstream_errors.UpstreamForbiddenError.hurts  # which shares the word of those that do
    branch.remove(upstream_errors.UpstreamForbiddenError)
    assert {each.word for each in branch if not each.hurts} == {
        Failure.UPSTREAM_RATE_LIMITED,
        Failure.UPSTREAM_REJECTED,
        Failure.CONTEXT_LENGTH,
    }


def test_callers_errors_are_those_of_their_branch_and_those_that_are_reserved() -> None:
    branch = {each.word for each in (RequestError, *classes(RequestError))}

    assert branch | {Failure.POLICY, Failure.BUDGET_EXCEEDED, Failure.RATE_LIMITED} == OF_CALLERS


def test_what_tells_against_a_provider_is_what_hurts_it_and_what_it_does_not_want() -> None:
    branch = {each.word for each in ALL if issubclass(each, upstream_errors.UpstreamError) and not each.hurts}

    assert branch - OF_NO_PROVIDER == {Failure.UPSTREAM_RATE_LIMITED, Failure.UPSTREAM_AUTH}
    assert OF_NO_PROVIDER - branch == {Failure.CLIENT_DISCONNECTED, Failure.CANCELLED_BY_SHUTDOWN}


def test_a_rejection_speaks_in_the_providers_words() -> None:
    error = upstream_errors.UpstreamRejectedError(
        "no", provider="p", status=422, type="odd_error", code="odd", param="top_p"
    )

    assert (error.status_code, error.type, error.code, error.param) == (422, "odd_error", "odd", "top_p")
    assert error.word is Failure.UPSTREAM_REJECTED
    assert upstream_errors.UpstreamRejectedError.status_code == 400


def test_a_method_that_is_not_allowed_says_which_would_be() -> None:
    assert MethodNotAllowedError("no", allow="POST").allow == "POST"
