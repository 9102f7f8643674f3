"""Everything that can go wrong, as one tree with one closed vocabulary.

GatewayError                         says its word, its status, its OpenAI `type` and `code`
├── RequestError                     the caller must change something
├── CapacityError                    we cannot take it now
├── CallerGoneError                  nobody waits for the answer any more
└── UpstreamError                    a provider let us down; `retry` and `fallback` say what may be tried

Each class states its whole row of the table in `docs/errors.md`; one that leaves a column out does not import.
"""

import asyncio
from enum import StrEnum
from typing import ClassVar, Literal


class Failure(StrEnum):
    """Every word there is for a call that did not end well; the same in metrics, logs, headers and health."""

    INVALID_REQUEST = "invalid_request"
    AUTHENTICATION = "authentication"
    PERMISSION = "permission"
    POLICY = "policy"
    NOT_FOUND = "not_found"
    MODEL_NOT_FOUND = "model_not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    REQUEST_TIMEOUT = "request_timeout"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    UNSUPPORTED_ENCODING = "unsupported_encoding"
    CONTEXT_LENGTH = "context_length"
    BUDGET_EXCEEDED = "budget_exceeded"
    RATE_LIMITED = "rate_limited"
    QUEUE_FULL = "queue_full"
    QUEUE_TIMEOUT = "queue_timeout"
    OVERLOADED = "overloaded"
    SHUTTING_DOWN = "shutting_down"
    NO_TARGET = "no_target"
    UPSTREAM_CONNECT = "upstream_connect"
    UPSTREAM_ERROR = "upstream_error"
    UPSTREAM_MALFORMED = "upstream_malformed"
    UPSTREAM_TRUNCATED = "upstream_truncated"
    UPSTREAM_EMPTY = "upstream_empty"
    UPSTREAM_AUTH = "upstream_auth"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    UPSTREAM_RATE_LIMITED = "upstream_rate_limited"
    UPSTREAM_REJECTED = "upstream_rejected"
    CLIENT_DISCONNECTED = "client_disconnected"
    CANCELLED_BY_SHUTDOWN = "cancelled_by_shutdown"
    INTERNAL = "internal"


OF_NO_PROVIDER = frozenset(
    {
        Failure.CLIENT_DISCONNECTED,
        Failure.CANCELLED_BY_SHUTDOWN,
        Failure.UPSTREAM_REJECTED,
        Failure.CONTEXT_LENGTH,
    }
)
"""Ends of attempts that tell nothing against a provider: counted, but in no rate of errors; rules name them too."""

OF_CALLERS = frozenset(
    {
        Failure.INVALID_REQUEST,
        Failure.AUTHENTICATION,
        Failure.PERMISSION,
        Failure.POLICY,
        Failure.NOT_FOUND,
        Failure.MODEL_NOT_FOUND,
        Failure.METHOD_NOT_ALLOWED,
        Failure.REQUEST_TIMEOUT,
        Failure.PAYLOAD_TOO_LARGE,
        Failure.UNSUPPORTED_ENCODING,
        Failure.BUDGET_EXCEEDED,
        Failure.RATE_LIMITED,
    }
)
"""What a caller did wrong before anybody was asked."""


UNKNOWN_KEY = "missing or unknown API key; send one, as Authorization: Bearer or as X-API-Key"
"""The same for everybody: what was wrong with a key is nobody's business."""

ErrorType = Literal[
    "invalid_request_error",
    "permission_error",
    "insufficient_quota",
    "requests",
    "tokens",
    "overloaded_error",
    "upstream_error",
    "server_error",
]


class GatewayError(Exception):
    """Base of every error the gateway answers with; `retry_after` is in seconds."""

    word: ClassVar[Failure] = Failure.INTERNAL
    status_code: int = 500
    type: str = "server_error"
    code: str | None = "internal_error"
    fallback: bool = False
    attempts: str = ""
    """`provider:word,…` of the attempts made before this error, as in `x-signalbox-attempts`."""

    def __init_subclass__(cls, *, word: str, status: int, type: ErrorType, code: str, fallback: bool) -> None:  # noqa: A002 - OpenAI's word
        cls.word = Failure(word)
        cls.status_code = status
        cls.type = type
        cls.code = code
        cls.fallback = fallback

    def __init__(self, message: str, *, param: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after


class RequestError(
    GatewayError,
    word="invalid_request", status=400, type="invalid_request_error", code="invalid_request", fallback=False,
):  # fmt: skip # a row of the table
    """The caller must change something before asking again."""


class InvalidRequestError(
    RequestError,
    word="invalid_request", status=400, type="invalid_request_error", code="invalid_request", fallback=False,
):  # fmt: skip # a row of the table
    pass


class AuthenticationError(
    RequestError,
    word="authentication", status=401, type="invalid_request_error", code="invalid_api_key", fallback=False,
):  # fmt: skip # a row of the table
    pass


class PermissionDeniedError(
    RequestError,
    word="permission", status=403, type="permission_error", code="permission_denied", fallback=False,
):  # fmt: skip # a row of the table
    pass


class NotFoundError(
    RequestError,
    word="not_found", status=404, type="invalid_request_error", code="not_found", fallback=False,
):  # fmt: skip # a row of the table
    pass


class NotCachedError(
    NotFoundError,
    word="not_found", status=504, type="invalid_request_error", code="not_found", fallback=False,
):  # fmt: skip # a row of the table
    """`only-if-cached` and nothing stored: 504 by RFC 9111 §5.2.1.7."""


class ModelNotFoundError(
    NotFoundError,
    word="model_not_found", status=404, type="invalid_request_error", code="model_not_found", fallback=False,
):  # fmt: skip # a row of the table
    pass


class MethodNotAllowedError(
    RequestError,
    word="method_not_allowed", status=405, type="invalid_request_error", code="method_not_allowed", fallback=False,
):  # fmt: skip # a row of the table
    def __init__(self, message: str, *, allow: str) -> None:
        super().__init__(message)
        self.allow = allow


class RequestTimeoutError(
    RequestError,
    word="request_timeout", status=408, type="invalid_request_error", code="request_timeout", fallback=False,
):  # fmt: skip # a row of the table
    pass


class PayloadTooLargeError(
    RequestError,
    word="payload_too_large", status=413, type="invalid_request_error", code="payload_too_large", fallback=False,
):  # fmt: skip # a row of the table
    pass


class HeaderTooLargeError(
    PayloadTooLargeError,
    word="payload_too_large", status=431, type="invalid_request_error", code="payload_too_large", fallback=False,
):  # fmt: skip # a row of the table
    pass


class AddressTooLongError(
    PayloadTooLargeError,
    word="payload_too_large", status=414, type="invalid_request_error", code="payload_too_large", fallback=False,
):  # fmt: skip # a row of the table
    pass


class UnsupportedEncodingError(
    RequestError,
    word="unsupported_encoding", status=415, type="invalid_request_error", code="unsupported_encoding", fallback=False,
):  # fmt: skip # a row of the table
    pass


class RateLimitedError(
    RequestError,
    word="rate_limited", status=429, type="requests", code="rate_limit_exceeded", fallback=False,
):  # fmt: skip # a row of the table
    """Asked too often; asking again after `retry_after` may help."""


class CapacityError(
    GatewayError,
    word="overloaded", status=503, type="overloaded_error", code="overloaded", fallback=False,
):  # fmt: skip # a row of the table
    """We cannot take it now; asking again after `retry_after` may help."""


class QueueTimeoutError(
    CapacityError,
    word="queue_timeout", status=503, type="overloaded_error", code="queue_timeout", fallback=False,
):  # fmt: skip # a row of the table
    """All connections to the provider stayed busy for too long: our limit, not the provider's failure."""


class QueueFullError(
    QueueTimeoutError,
    word="queue_full", status=503, type="overloaded_error", code="queue_full", fallback=False,
):  # fmt: skip # a row of the table
    """As many calls wait for a connection to the provider as may: waiting behind them would take others' places."""


class ShuttingDownError(
    CapacityError,
    word="shutting_down", status=503, type="overloaded_error", code="shutting_down", fallback=False,
):  # fmt: skip # a row of the table
    pass


class NoTargetError(
    CapacityError,
    word="no_target", status=503, type="overloaded_error", code="no_target", fallback=False,
):  # fmt: skip # a row of the table
    pass


class CallerGoneError(
    GatewayError,
    word="client_disconnected", status=499, type="overloaded_error", code="client_disconnected", fallback=False,
):  # fmt: skip # a row of the table
    """Only ever logged and counted: there is nobody to tell."""


class CancelledByShutdownError(
    CapacityError,
    word="cancelled_by_shutdown", status=503, type="overloaded_error", code="cancelled_by_shutdown", fallback=False,
):  # fmt: skip # a row of the table
    """Cut at the end of draining; in mid-stream it is the last event."""


def word_of(error: BaseException) -> Failure:
    """What metrics and logs call `error`, whatever it is."""
    match error:
        case GatewayError():
            return error.word
        case asyncio.CancelledError() | GeneratorExit():
            return CallerGoneError.word
        case _:
            return GatewayError.word
