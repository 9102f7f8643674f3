"""What providers say when they refuse, in the gateway's words. Their texts never carry a key of ours."""

import time
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from app.domain.redaction import Redactor
from app.domain.upstream_errors import (
    ContextLengthError,
    UpstreamAuthError,
    UpstreamError,
    UpstreamFailedError,
    UpstreamForbiddenError,
    UpstreamMalformedError,
    UpstreamNotFoundError,
    UpstreamRateLimitedError,
    UpstreamRejectedError,
    UpstreamTimeoutError,
)
from app.providers.upstream.base import Answer

LONGEST_MESSAGE = 1000


class Said(msgspec.Struct):
    """The fields of an error body, whichever of the usual shapes it has."""

    message: str = ""
    type: str | None = None
    code: str | None = None
    param: str | None = None
    status: int = 0


class ErrorReader:
    """Reads one provider's unsuccessful answers."""

    def __init__(self, provider: str, redact: Redactor) -> None:
        self._provider = provider
        self._redact = redact

    def from_answer(self, answer: Answer) -> UpstreamError:
        """The error an answer with a status of 300 or more stands for."""
        error = self._error(answer.status, self._said(answer.body), retry_after_of(answer))
        error.detail = f"status {answer.status}"
        return error

    def from_body(self, body: bytes) -> UpstreamError:
        """The error inside an answer that pretended to be well; OpenRouter puts the status into `code`."""
        said = self._said(body)
        return self._error(said.status if 400 <= said.status < 600 else 500, said, None, retry=False)

    def _error(self, status: int, said: Said, retry_after: float | None, *, retry: bool = True) -> UpstreamError:
        provider = self._provider
        message = said.message or f"{provider} answered {status}"
        kind: type[UpstreamRejectedError]
        match status:
            case 429:
                return UpstreamRateLimitedError(message, provider=provider, retry_after=retry_after)
            case 401 | 402 | 403:
                # inside an answer that pretended to be well it may be some key further on
                return _refused(provider, status, said.message, key_refused=retry and status == 401)
            case 408 | 425 | 504:
                return UpstreamTimeoutError(message, provider=provider, retry_after=retry_after)
            case 400 if "context_length" in (said.code or ""):
                kind = ContextLengthError
            case 404:
                kind = UpstreamNotFoundError
            case _ if 400 <= status < 500:
                kind = UpstreamRejectedError
            case _ if status < 400:
                message = f"{provider} answered with a redirect ({status}): its base_url is probably not right"
                return UpstreamMalformedError(message, provider=provider)
            case _:
                failed = retry and status in {500, 502, 503, 529}
                return (UpstreamFailedError if failed else UpstreamError)(
                    message, provider=provider, retry_after=retry_after
                )
        return kind(message, provider=provider, status=status, type=said.type, code=said.code, param=said.param)

    def _said(self, body: bytes) -> Said:
        try:
            decoded = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Said()
        if isinstance(decoded, list) and decoded:  # Gemini wraps it so
            decoded = decoded[0]
        error = (decoded.get("error") or decoded) if isinstance(decoded, dict) else decoded
        if isinstance(error, str):
            return Said(message=self._clean(error) or "")
        if not isinstance(error, dict):
            return Said()
        status = error.get("code")
        return Said(
            message=self._clean(error.get("message")) or self._detail(error.get("detail")),
            type=self._clean(error.get("type")),
            code=self._clean(error.get("code")),
            param=self._clean(error.get("param")),
            status=status if isinstance(status, int) else 0,
        )

    def _detail(self, detail: Any) -> str:
        """FastAPI's servers say it in a list."""
        if not detail:
            return ""
        return self._clean(detail if isinstance(detail, str) else msgspec.json.encode(detail).decode()) or ""

    def _clean(self, value: Any) -> str | None:
        if not isinstance(value, str | int) or isinstance(value, bool):
            return None
        return self._redact(str(value))[:LONGEST_MESSAGE]


def _refused(provider: str, status: int, said: str, *, key_refused: bool) -> UpstreamAuthError:
    match status:
        case 402:
            why = f"wants to be paid first: {said}"
        case 403:
            why = f"refused it: {said}" if said else "refused it, or our credentials"
        case _:
            why = "refused our credentials"
    kind = UpstreamForbiddenError if status == 403 else UpstreamAuthError
    return kind(f"{provider} {why} (status {status})", provider=provider, key_refused=key_refused)


def retry_after_of(answer: Answer) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `Retry-After` (RFC 9110 §10.2.3: seconds or a date)."""
    milliseconds = answer.header(b"retry-after-ms")
    if milliseconds.isdigit() and len(milliseconds) < 12:
        return int(milliseconds) / 1000
    text = answer.header(b"retry-after").decode("latin-1").strip()
    if not text or "_" in text:  # float takes an underscore between digits
        return None
    try:
        wait = float(text)
    except ValueError:
        try:
            wait = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(wait, 0.0) if wait == wait and wait < 1e9 else None  # noqa: PLR0124 - not a number
