"""One error in every spelling."""

from typing import Any

import pytest
from litestar import Request
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException

from app.controllers.dialects import SPELLINGS, render_error
from app.domain import errors
from app.domain.upstream_errors import UpstreamRateLimitedError

NOT_FOUND = errors.NotFoundError("nothing here", param="x")

ANTHROPIC = {
    "type": "error",
    "error": {"type": "not_found_error", "message": "nothing here"},
    "request_id": "id-1",
}
OPENAI = {
    "error": {"message": "nothing here", "type": "invalid_request_error", "param": "x", "code": "not_found"},
}
OLLAMA = {"error": "nothing here"}
NOMYO = {"detail": "nothing here", "error": "nothing here"}
LLM_SERVICE = {"statusCode": 404, "message": "nothing here", "error": "Not Found"}
MODEL_MUXER = {
    "error": {"message": "nothing here", "type": "invalid_request_error", "code": "not_found", "details": {}},
}
LLM_RUNNER = {"error": "not_found", "message": "nothing here"}
PROBLEM = {"type": "about:blank", "title": "Not Found", "status": 404, "detail": "nothing here"}


def rendered(path: str, error: Exception = NOT_FOUND) -> Any:
    scope: Any = {"type": "http", "path": path, "state": {"request_id": "id-1"}, "method": "GET", "headers": []}
    return render_error(Request(scope), error)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/messages", ANTHROPIC),
        ("/v1/messages/count_tokens", ANTHROPIC),
        ("/v1/analytics/usage", MODEL_MUXER),
        ("/user/stats", MODEL_MUXER),
        ("/providers", MODEL_MUXER),
        ("/api/v1/llm/generate", LLM_SERVICE),
        ("/monitoring/health", LLM_SERVICE),
        ("/api/usage", NOMYO),
        ("/api/token_counts", NOMYO),
        ("/api/stats", NOMYO),
        ("/api/config", NOMYO),
        ("/api/aggregate_time_series_days", NOMYO),
        ("/api/ps_details", NOMYO),
        ("/api/cache/stats", NOMYO),
        ("/api/ps", OLLAMA),
        ("/api/chat", OLLAMA),
        ("/runner/api/x", LLM_RUNNER),
        ("/admin/keys", PROBLEM),
        ("/v1/chat/completions", OPENAI),
        ("/v1/nothing", OPENAI),
        ("/", OPENAI),
        ("", OPENAI),
    ],
)
def test_the_path_decides_how_an_error_is_spelled(path: str, body: dict[str, Any]) -> None:
    response = rendered(path)

    assert response.content == body
    assert response.status_code == 404
    assert response.media_type == ("application/problem+json" if body is PROBLEM else "application/json")
    assert response.headers["x-signalbox-error"] == "not_found"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.InvalidRequestError("no"), "invalid_request_error"),
        (errors.AuthenticationError("no"), "authentication_error"),
        (errors.PermissionDeniedError("no"), "permission_error"),
        (errors.MethodNotAllowedError("no", allow="GET"), "invalid_request_error"),
        (errors.PayloadTooLargeError("no"), "request_too_large"),
        (UpstreamRateLimitedError("no", provider="p"), "rate_limit_error"),
        (errors.ShuttingDownError("no"), "overloaded_error"),
        (errors.GatewayError("no"), "api_error"),
    ],
)
def test_anthropic_has_types_of_its_own(error: errors.GatewayError, kind: str) -> None:
    assert rendered("/v1/messages", error).content["error"] == {"type": kind, "message": "no"}


@pytest.mark.parametrize(("prefix", "_spelling"), SPELLINGS, ids=[prefix for prefix, _ in SPELLINGS])
@pytest.mark.parametrize(
    "error",
    [
        errors.AuthenticationError("no"),
        errors.MethodNotAllowedError("no", allow="GET"),
        errors.HeaderTooLargeError("no"),
        errors.NotCachedError("no"),
        errors.ShuttingDownError("no", retry_after=5),
        errors.GatewayError("no"),
    ],
)
def test_every_dialect_spells_every_status_we_answer_with(
    prefix: str, _spelling: Any, error: errors.GatewayError
) -> None:
    response = rendered(prefix + "x", error)

    assert response.status_code == error.status_code
    assert "no" in str(response.content)


def test_what_the_framework_finds_is_told_in_our_words() -> None:
    missing = rendered("/x", NotFoundException())
    wrong = rendered("/x", MethodNotAllowedException(headers={"Allow": "GET, HEAD"}))

    assert missing.content["error"]["message"] == "there is nothing at this path"
    assert wrong.status_code == 405
    assert wrong.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("error", [ZeroDivisionError("secret"), HTTPException(status_code=418, detail="secret")])
def test_what_nobody_foresaw_says_nothing_of_its_insides(error: Exception) -> None:
    response = rendered("/api/chat", error)

    assert response.status_code == 500
    assert response.content == {"error": "the gateway failed to handle the request"}


def test_headers_say_the_rest() -> None:
    limited = UpstreamRateLimitedError("no", provider="p", retry_after=1.2)
    limited.attempts = "p:upstream_rate_limited"

    headers = rendered("/", limited).headers

    assert headers["retry-after"] == "2"
    assert headers["x-signalbox-attempts"] == "p:upstream_rate_limited"
    assert rendered("/", errors.AuthenticationError("no")).headers["www-authenticate"] == "Bearer"
    assert rendered("/").headers == {"x-signalbox-error": "not_found"}
