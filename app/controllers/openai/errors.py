"""Errors as OpenAI spells them."""

import msgspec
from litestar import Request, Response

from app.controllers.errors import as_gateway_error, headers_for
from app.domain.errors import GatewayError


def error_body(error: GatewayError) -> dict[str, dict[str, str | None]]:
    return {"error": {"message": error.message, "type": error.type, "param": error.param, "code": error.code}}


def render_openai_error(_: Request, exc: Exception) -> Response:
    error = as_gateway_error(exc)
    return Response(error_body(error), status_code=error.status_code, headers=headers_for(error))


def error_answer(error: GatewayError) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """The same for a hot route: headers and body."""
    headers = [(name.encode(), value.encode()) for name, value in headers_for(error).items()]
    return [(b"content-type", b"application/json"), *headers], msgspec.json.encode(error_body(error))
