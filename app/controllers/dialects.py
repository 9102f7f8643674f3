"""Which dialect speaks on which path: an error on a path that no router has is still spelled in its words."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from litestar import Request, Response

from app.controllers.errors import as_gateway_error, headers_for
from app.controllers.openai.errors import error_body
from app.domain.errors import GatewayError

Spelling = Callable[[GatewayError, str], dict[str, Any]]

JSON = "application/json"
PROBLEM = "application/problem+json"

_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


def _phrase(status: int) -> str:
    """The reason phrase; a provider may answer with a status nobody has registered."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def anthropic(error: GatewayError, request_id: str) -> dict[str, Any]:
    kind = _ANTHROPIC_TYPES.get(error.status_code, "api_error")
    return {"type": "error", "error": {"type": kind, "message": error.message}, "request_id": request_id}


def openai(error: GatewayError, _: str) -> dict[str, Any]:
    return error_body(error)


def ollama(error: GatewayError, _: str) -> dict[str, Any]:
    return {"error": error.message}


def nomyo(error: GatewayError, _: str) -> dict[str, Any]:
    return {"detail": error.message, "error": error.message}


def llm_service(error: GatewayError, _: str) -> dict[str, Any]:
    status = error.status_code
    return {"statusCode": status, "message": error.message, "error": _phrase(status)}


def model_muxer(error: GatewayError, _: str) -> dict[str, Any]:
    return {"error": {"message": error.message, "type": error.type, "code": error.code, "details": {}}}


def llm_runner(error: GatewayError, _: str) -> dict[str, Any]:
    return {"error": error.code, "message": error.message}


def problem(error: GatewayError, _: str) -> dict[str, Any]:
    """RFC 9457."""
    status = error.status_code
    return {"type": "about:blank", "title": _phrase(status), "status": status, "detail": error.message}


# The first prefix that fits decides.
SPELLINGS: tuple[tuple[str, Spelling], ...] = (
    ("/v1/messages", anthropic),
    ("/v1/analytics/", model_muxer),
    ("/user/stats", model_muxer),
    ("/providers", model_muxer),
    ("/api/v1/llm/", llm_service),
    ("/monitoring/", llm_service),
    *(
        (f"/api/{name}", nomyo)
        for name in (
            "usage",
            "token_counts",
            "stats",
            "config",
            "aggregate_time_series_days",
            "ps_details",
            "cache/",
        )
    ),
    ("/api/", ollama),
    ("/runner/api/", llm_runner),
    ("/admin/", problem),
    ("/", openai),
)


def spelling_of(path: str) -> Spelling:
    return next((spelling for prefix, spelling in SPELLINGS if path.startswith(prefix)), openai)


def spelled(error: GatewayError, path: str, request_id: str) -> tuple[dict[str, Any], str]:
    """An error's body and its media type, in the dialect of `path`."""
    spell = spelling_of(path)
    return spell(error, request_id), PROBLEM if spell is problem else JSON


def render_error(request: Request, exc: Exception) -> Response:
    """404 and 405 belong to no router, so the dialect is picked by the ASGI path."""
    error = as_gateway_error(exc, request.scope["path"])
    body, media_type = spelled(error, request.scope["path"], request.scope["state"].get("request_id", ""))
    return Response(body, status_code=error.status_code, headers=headers_for(error), media_type=media_type)
