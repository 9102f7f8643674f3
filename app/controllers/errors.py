"""What every dialect's error renderer shares."""

import math

import structlog
from litestar.exceptions import HTTPException

from app.domain import errors
from app.domain.llm import Operation

OPENAI_PATHS = frozenset({"/v1/models", *(f"/v1/{operation}" for operation in Operation)})

logger = structlog.get_logger("signalbox.errors")

_BY_STATUS: dict[int, type[errors.RequestError]] = {
    400: errors.InvalidRequestError,
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    413: errors.PayloadTooLargeError,
}


def as_gateway_error(error: Exception, path: str = "") -> errors.GatewayError:
    """Any exception as one of ours; what nobody foresaw says nothing of its insides. `path` is what was asked for."""
    if isinstance(error, errors.GatewayError):
        return error
    if isinstance(error, HTTPException):
        if error.status_code == 405:
            allow = (error.headers or {}).get("Allow") or (error.headers or {}).get("allow") or ""
            return errors.MethodNotAllowedError("this path does not answer that method", allow=allow)
        if known := _BY_STATUS.get(error.status_code):
            return known(_describe(error, path))
    logger.error("unhandled error", exc_info=error)
    return errors.GatewayError("the gateway failed to handle the request")


def headers_for(error: errors.GatewayError) -> dict[str, str]:
    headers = {"x-signalbox-error": str(error.word)}
    if error.attempts:
        headers["x-signalbox-attempts"] = error.attempts
    if error.retry_after is not None:
        headers["retry-after"] = f"{math.ceil(error.retry_after)}"
    if isinstance(error, errors.MethodNotAllowedError) and error.allow:
        headers["allow"] = error.allow
    if isinstance(error, errors.AuthenticationError):
        headers["www-authenticate"] = "Bearer"
    return headers


def _describe(error: HTTPException, path: str) -> str:
    if error.status_code == 404:
        meant = "/v1/" + path.strip("/").removeprefix("v1/").removeprefix("v1/")
        hint = f"; did you mean {meant}?" if meant in OPENAI_PATHS and meant != path else ""
        return f"there is nothing at this path{hint}"
    if isinstance(error.extra, list) and error.extra:
        return "; ".join(f"{item.get('key', '')}: {item.get('message', '')}".strip(": ") for item in error.extra)
    return error.detail
