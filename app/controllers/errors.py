"""What every dialect's error renderer shares."""

import math

import structlog
from litestar.exceptions import HTTPException

from app.domain import errors

logger = structlog.get_logger("signalbox.errors")

_BY_STATUS: dict[int, type[errors.RequestError]] = {
    400: errors.InvalidRequestError,
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    413: errors.PayloadTooLargeError,
}


def as_gateway_error(error: Exception) -> errors.GatewayError:
    """Any exception as one of ours; what nobody foresaw says nothing of its insides."""
    if isinstance(error, errors.GatewayError):
        return error
    if isinstance(error, HTTPException):
        if error.status_code == 405:
            allow = (error.headers or {}).get("Allow") or (error.headers or {}).get("allow") or ""
            return errors.MethodNotAllowedError("this path does not answer that method", allow=allow)
        if known := _BY_STATUS.get(error.status_code):
            return known(_describe(error))
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


def _describe(error: HTTPException) -> str:
    if error.status_code == 404:
        return "there is nothing at this path"
    if isinstance(error.extra, list) and error.extra:
        return "; ".join(f"{item.get('key', '')}: {item.get('message', '')}".strip(": ") for item in error.extra)
    return error.detail
