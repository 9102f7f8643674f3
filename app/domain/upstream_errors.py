"""The branch of the error tree for what providers do to us."""

from typing import ClassVar

from app.domain.errors import GatewayError


class UpstreamError(
    GatewayError,
    word="upstream_error", status=502, type="upstream_error", code="upstream_error", fallback=True,
):  # fmt: skip # a row of the table
    """A provider failed. `retry`: the same target may be asked again; `fallback`: the next one may.

    `hurts` says whether it tells against the provider's health: what a caller did wrong does not.
    """

    retry: bool = False
    hurts: ClassVar[bool] = True

    def __init__(self, message: str, *, provider: str, retry_after: float | None = None, detail: str = "") -> None:
        """`detail` is for the operator: it stands in the log and in health, never in an answer."""
        super().__init__(message, retry_after=retry_after)
        self.provider = provider
        self.detail = detail
        self.connecting = False
        """It failed before anything could be sent."""
        self.key_refused = False

    @property
    def of_all_models(self) -> bool:
        """It would have failed for any other model, too."""
        return self.connecting or self.key_refused


class UpstreamFailedError(
    UpstreamError,
    word="upstream_error", status=502, type="upstream_error", code="upstream_error", fallback=True,
):  # fmt: skip # a row of the table
    """It said so itself: 500, 502, 503 or 529."""

    retry = True


class UpstreamConnectError(
    UpstreamError,
    word="upstream_connect", status=502, type="upstream_error", code="upstream_connect", fallback=True,
):  # fmt: skip # a row of the table
    """The request never reached it."""

    retry = True


class UpstreamTimeoutError(
    UpstreamError,
    word="upstream_timeout", status=504, type="upstream_error", code="upstream_timeout", fallback=True,
):  # fmt: skip # a row of the table
    pass


class UpstreamMalformedError(
    UpstreamError,
    word="upstream_malformed", status=502, type="upstream_error", code="upstream_malformed", fallback=True,
):  # fmt: skip # a row of the table
    pass


class UpstreamTruncatedError(
    UpstreamError,
    word="upstream_truncated", status=502, type="upstream_error", code="upstream_truncated", fallback=True,
):  # fmt: skip # a row of the table
    pass


class UpstreamEmptyError(
    UpstreamError,
    word="upstream_empty", status=502, type="upstream_error", code="upstream_empty", fallback=True,
):  # fmt: skip # a row of the table
    pass


class UpstreamAuthError(
    UpstreamError,
    word="upstream_auth", status=502, type="upstream_error", code="upstream_auth", fallback=True,
):  # fmt: skip # a row of the table
    """Our credentials were refused: never the caller's 401.

    `key_refused` where nobody could have been answered; an account may lack money, or a right, for one model only.
    """

    def __init__(self, message: str, *, provider: str, key_refused: bool = False) -> None:
        super().__init__(message, provider=provider)
        self.key_refused = key_refused


class UpstreamForbiddenError(
    UpstreamAuthError,
    word="upstream_auth", status=502, type="upstream_error", code="upstream_auth", fallback=True,
):  # fmt: skip # a row of the table
    """403: our key has no right to it, or moderation has flagged the question, which tells nothing of the provider."""

    hurts = False


class UpstreamRateLimitedError(
    UpstreamError,
    word="upstream_rate_limited", status=429, type="upstream_error", code="upstream_rate_limited", fallback=True,
):  # fmt: skip # a row of the table
    """Asked again only when it says when."""

    hurts = False

    def __init__(self, message: str, *, provider: str, retry_after: float | None = None) -> None:
        super().__init__(message, provider=provider, retry_after=retry_after)
        self.retry = retry_after is not None


class UpstreamRejectedError(
    UpstreamError,
    word="upstream_rejected", status=400, type="invalid_request_error", code="invalid_request", fallback=False,
):  # fmt: skip # a row of the table
    """The caller's fault, told in the provider's own words: its status, type, code and param."""

    hurts = False

    def __init__(  # noqa: PLR0913 - the four fields of an OpenAI error, and who said it
        self,
        message: str,
        *,
        provider: str,
        status: int,
        type: str | None = None,  # noqa: A002 - OpenAI's word
        code: str | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message, provider=provider)
        self.status_code = status
        self.type = type or "invalid_request_error"
        self.code = code
        self.param = param


class UpstreamNotFoundError(
    UpstreamRejectedError,
    word="upstream_rejected", status=404, type="invalid_request_error", code="not_found", fallback=True,
):  # fmt: skip # a row of the table
    """The model is unknown to this provider; the next one may know it."""


class ContextLengthError(
    UpstreamRejectedError,
    word="context_length", status=400, type="invalid_request_error", code="context_length_exceeded", fallback=False,
):  # fmt: skip # a row of the table
    """Too long for this target; one with a larger window may take it once windows are known."""


def unreached(error: UpstreamError) -> UpstreamError:
    """The same error, of which is known that nothing could be sent."""
    error.connecting = True
    return error
