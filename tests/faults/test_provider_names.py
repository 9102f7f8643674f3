"""The way to a provider: its name, its addresses, its certificate; for every upstream client."""

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from app.domain import upstream_errors as errors
from app.providers.upstream.base import Limits, Upstream
from app.providers.upstream.resolving import Lookup, Resolver
from app.providers.upstream.tls import tls_context
from tests.support.origin import origin, says
from tests.support.upstreams import HTTP11, KINDS, upstream_of

LIMITS = Limits(connect=10, first_byte=10, idle=10)
HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"

every_http11 = pytest.mark.parametrize("kind", HTTP11)


@asynccontextmanager
async def asking(
    kind: str, url: str, *, lookup: Lookup | None = None, limits: Limits = LIMITS
) -> AsyncIterator[Upstream]:
    resolver = Resolver(lookup) if lookup else None
    upstream = HTTP11[kind](provider="p", base_url=url, headers={}, limits=limits, resolver=resolver)
    try:
        yield upstream
    finally:
        await upstream.aclose()


@every_http11
async def test_U_18_a_name_that_is_none(kind: str) -> None:
    """The resolver knows no such name (NXDOMAIN), or has failed itself (SERVFAIL).

    Happens: 502 `upstream_connect` at once, after the tries that are allowed where nothing could be sent.
    Seen: the resolver's words in `/health` and in the log, never in an answer; `error_type="upstream_connect"`.
    """

    def unknown(_: str) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async with asking(kind, "http://no.such.name/v1", lookup=unknown) as upstream:
        with pytest.raises(errors.UpstreamConnectError) as caught:
            await upstream.send("POST", "chat", b"{}")

    assert caught.value.retry
    assert "not known" in caught.value.detail
    assert "not known" not in caught.value.message


@every_http11
async def test_U_18_a_resolver_that_is_silent(kind: str) -> None:
    """A resolver says nothing for longer than connecting may take, while fifty calls want the name.

    Happens: each call is 504 `upstream_timeout` when `timeouts.connect` is over. One thread waits for the resolver
    however many call; the event loop and the lookups of other providers go on meanwhile.
    Seen: `llm_provider_errors_total{error_type="upstream_timeout"}`; `llm_event_loop_lag_seconds` stays flat.
    """
    answering = threading.Event()
    asked: list[str] = []

    def silent(host: str) -> Sequence[str]:
        asked.append(host)
        answering.wait(60)
        return ["127.0.0.1"]

    limits = Limits(connect=0.5)
    async with origin() as other, asking(kind, "http://silent.name/v1", lookup=silent, limits=limits) as upstream:
        other.script = says(HELLO)
        calls = [asyncio.create_task(upstream.send("POST", "chat", b"{}")) for _ in range(50)]
        named = other.url.replace("127.0.0.1", "localhost")
        async with asking(kind, named) as well:
            answer = await well.send("POST", "chat", b"{}")
        early = [call for call in calls if call.done()]
        told = await asyncio.gather(*calls, return_exceptions=True)
    answering.set()

    assert answer.body == b"hello"
    assert not early, "another name was found while the first one was waited for"
    assert {type(each) for each in told} == {errors.UpstreamTimeoutError}
    assert asked == ["silent.name"]


@every_http11
async def test_U_18_an_address_that_changes(kind: str) -> None:
    """A provider moves to another address; or one of its two addresses is dead.

    Happens: the next connection goes to where the name points now; of several addresses the next one is tried.
    Seen: nothing, for no call failed.
    """
    addresses = ["127.0.0.1"]
    once = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello"
    async with origin() as provider:
        provider.script = says(once, then_close=True)
        port = int(provider.url.split(":")[2].partition("/")[0])
        async with (
            origin(host="127.0.0.2", port=port) as moved,
            asking(kind, f"http://some.name:{port}/v1", lookup=lambda _: list(addresses)) as upstream,
        ):
            moved.script = says(HELLO.replace(b"hello", b"moved"))
            bodies = [(await upstream.send("POST", "chat", b"{}")).body]
            addresses[:] = ["127.0.0.3", "127.0.0.2"]  # nobody listens at the first
            bodies.append((await upstream.send("POST", "chat", b"{}")).body)

    assert bodies == [b"hello", b"moved"]


YESTERDAY = datetime.now(UTC) - timedelta(days=1)


def wrong_context(wrong: str, ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    match wrong:
        case "expired":
            certificate = ca.issue_cert("127.0.0.1", not_after=YESTERDAY)
        case "of another name":
            certificate = ca.issue_cert("elsewhere.example")
        case _:
            certificate = trustme.CA().issue_cert("127.0.0.1")
    certificate.configure_cert(context)
    return context


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrong", ["expired", "of another name", "of nobody we trust"])
async def test_U_19_certificates(kind: str, wrong: str, tmp_path: Path) -> None:
    """A provider's certificate has expired, is another server's, or was made by nobody we trust.

    Happens: 502 `upstream_connect`; not a byte of the question is sent, and no request can switch that off.
    Seen: OpenSSL's words in `/health` and in the log; `llm_provider_errors_total{error_type="upstream_connect"}`.
    """
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with origin(wrong_context(wrong, ca)) as provider:
        provider.script = says(HELLO)
        upstream = upstream_of(kind)(
            provider="p", base_url=provider.url, headers={}, limits=LIMITS, tls=tls_context(str(tmp_path / "ca.pem"))
        )
        with pytest.raises(errors.UpstreamConnectError) as caught:
            await upstream.send("POST", "chat", b"{}", b"x-verify: false\r\n")
        await upstream.aclose()

    assert "certificate" in caught.value.detail.lower()
    assert provider.connections == 0
