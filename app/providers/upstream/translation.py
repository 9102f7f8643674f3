"""Httpx failures in the gateway's words."""

from contextlib import suppress

import httpx

from app.domain.upstream_errors import (
    UpstreamConnectError,
    UpstreamError,
    UpstreamMalformedError,
    UpstreamTimeoutError,
    UpstreamTruncatedError,
    unreached,
)
from app.providers.upstream.frames import REFUSED_STREAM
from app.providers.upstream.line import Line, UploadCutError

FAULTS: tuple[type[BaseException], ...] = (httpx.HTTPError, KeyError, UploadCutError)
"""How httpx fails; in HTTP/2 not all that is raised beneath it is translated by it."""
with suppress(ImportError):  # without the extra nobody raises it
    from h2.exceptions import H2Error

    FAULTS = (*FAULTS, H2Error)


class StaleError(Exception):
    """The connection had been closed by the other side, or was being closed, before it looked at the request."""


def in_our_words(
    error: BaseException, provider: str, line: Line, *, again: bool = False, reading: bool = False
) -> UpstreamError | StaleError:
    """What one of `FAULTS` means; `again` tells that this was the second attempt, `reading` that the head was here."""
    if line.reset == REFUSED_STREAM and not reading:
        refused = UpstreamConnectError(f"{provider} refused the call before looking at it", provider=provider)
        return refused if again else StaleError()
    if line.reset is None and not _of_the_network(error):
        return UpstreamMalformedError(f"{provider}'s answer is not HTTP", provider=provider)
    for kind, ours, message in _WORDS:
        if isinstance(error, kind):
            detail = str(error) if kind is httpx.ConnectError else ""
            failed = ours(message.format(provider), provider=provider, detail=detail)
            return unreached(failed) if kind is not httpx.TimeoutException else failed
    if reading:
        return UpstreamTruncatedError(f"{provider} hung up in mid-answer", provider=provider)
    if line.stale and not again:
        return StaleError()
    return UpstreamError(f"{provider} hung up without an answer", provider=provider)


_WORDS: tuple[tuple[type[httpx.HTTPError], type[UpstreamError], str], ...] = (
    (httpx.ConnectTimeout, UpstreamTimeoutError, "no connection to {} in time"),
    (httpx.TimeoutException, UpstreamTimeoutError, "{} did not answer in time"),
    (httpx.ConnectError, UpstreamConnectError, "could not reach {}"),
)


def _of_the_network(error: BaseException) -> bool:
    text = str(error)
    hung_up = "disconnected" in text or "closed connection" in text
    return isinstance(error, httpx.HTTPError) and (hung_up or not isinstance(error, httpx.ProtocolError))
