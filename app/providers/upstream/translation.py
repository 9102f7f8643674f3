"""Httpx failures in the gateway's words."""

import httpx

from app.domain.upstream_errors import (
    UpstreamConnectError,
    UpstreamError,
    UpstreamMalformedError,
    UpstreamTimeoutError,
    UpstreamTruncatedError,
)


class StaleError(Exception):
    """A kept connection had been closed by the other side before anything of the answer was seen."""


def in_our_words(
    error: httpx.HTTPError, provider: str, *, kept: bool = False, reading: bool = False
) -> UpstreamError | StaleError:
    """What `error` means; `kept` tells that the connection was not new, `reading` that the head was already here."""
    if isinstance(error, httpx.RemoteProtocolError) and not _hung_up(error):
        return UpstreamMalformedError(f"{provider}'s answer is not HTTP", provider=provider)
    for kind, ours, message in _WORDS:
        if isinstance(error, kind):
            return ours(message.format(provider), provider=provider)
    if reading:
        return UpstreamTruncatedError(f"{provider} hung up in mid-answer", provider=provider)
    if kept:
        return StaleError()
    return UpstreamError(f"{provider} hung up without an answer", provider=provider)


_WORDS: tuple[tuple[type[httpx.HTTPError], type[UpstreamError], str], ...] = (
    (httpx.ConnectTimeout, UpstreamTimeoutError, "no connection to {} in time"),
    (httpx.TimeoutException, UpstreamTimeoutError, "{} did not answer in time"),
    (httpx.ConnectError, UpstreamConnectError, "could not reach {}"),
)


def _hung_up(error: httpx.RemoteProtocolError) -> bool:
    text = str(error)
    return "disconnected" in text or "closed connection" in text
