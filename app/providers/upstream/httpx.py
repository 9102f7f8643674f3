"""The contract of `Upstream` on httpx: with its own deadlines, and without its lost pool places (see `line.py`)."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from functools import partial
from typing import TypeVar

import httpx

from app.domain.errors import CapacityError
from app.domain.upstream_errors import UpstreamMalformedError, UpstreamTimeoutError
from app.providers.upstream.base import DEFAULT_LIMITS, LINGER_SECONDS, Answer, Headers, Limits, Load
from app.providers.upstream.inflating import ENCODINGS, IDENTITY, Inflater, InflatingError
from app.providers.upstream.lanes import ElsewhereError, Lane, Lanes
from app.providers.upstream.line import Line, WatchedBackend, current_line, drop_if_more_came
from app.providers.upstream.places import Places
from app.providers.upstream.resolving import Resolver
from app.providers.upstream.tls import tls_context
from app.providers.upstream.translation import FAULTS, StaleError, in_our_words

T = TypeVar("T")
STUCK_SECONDS = 3


class HttpxUpstream:
    """One client, and so one pool, per provider: a slow one starves no other."""

    def __init__(  # noqa: PLR0913 - what a client is made of
        self,
        *,
        provider: str,
        base_url: str,
        headers: Mapping[str, str],
        limits: Limits = DEFAULT_LIMITS,
        tls: ssl.SSLContext | None = None,
        proxy: str = "",
        http2: bool = False,
        resolver: Resolver | None = None,
    ) -> None:
        """With `http2` the context is told so by httpcore: it must be nobody else's, who may not speak it."""
        self.provider = provider
        self.limits = limits
        self.tasks: set[asyncio.Task[object]] = set()
        self._places = Places(provider, limits)
        kept = httpx.Limits(max_keepalive_connections=limits.connections, keepalive_expiry=limits.keep_idle)
        names = resolver or Resolver()
        verify = (tls or tls_context()) if base_url.startswith("https:") else ssl.create_default_context()

        def transport_of(lane: Lane) -> httpx.AsyncHTTPTransport:
            made = httpx.AsyncHTTPTransport(
                limits=kept, trust_env=False, proxy=proxy or None, verify=verify, http2=http2
            )
            pool = made._pool  # noqa: SLF001 - httpx offers no other way to its sockets; a contract test watches it
            pool._network_backend = WatchedBackend(pool._network_backend, lane, names)  # noqa: SLF001 - as above
            return made

        self._lanes = Lanes(transport_of, http2=http2, keep_idle=limits.keep_idle)
        self._client = httpx.AsyncClient(
            base_url=base_url,
            headers={"accept-encoding": "identity", **headers},
            timeout=httpx.Timeout(None, connect=limits.connect),
            transport=self._lanes,
            trust_env=False,
            follow_redirects=False,
        )

    async def send(self, method: str, path: str, body: bytes = b"", lines: bytes = b"") -> Answer:
        exchange = await self._opened(method, path, body, lines, total=self.limits.total)
        try:
            return Answer(exchange.status, exchange.headers, await exchange.read_all(), exchange.connecting)
        finally:
            exchange.close()

    async def open(self, method: str, path: str, body: bytes = b"", lines: bytes = b"") -> "HttpxExchange":
        return await self._opened(method, path, body, lines, total=self.limits.stream_total)

    def load(self) -> Load:
        places = self._places
        return Load(places.active, self._lanes.idle(), self.limits.connections, places.waiting, places.refused)

    async def aclose(self) -> None:
        """Close every connection, those in use too."""
        await self._client.aclose()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _opened(self, method: str, path: str, body: bytes, lines: bytes, *, total: float) -> "HttpxExchange":
        due = time.monotonic() + total
        headers = [(name, value) for name, _, value in (line.partition(b": ") for line in lines.splitlines())]
        asked = partial(self._asked, method, path, body, headers, min(self.limits.first_byte, total), due)
        try:
            exchange = await asked()
        except StaleError:
            exchange = await asked(again=True)
        if exchange.fault:
            exchange.close()
            raise UpstreamMalformedError(f"{self.provider}'s answer {exchange.fault}", provider=self.provider)
        return exchange

    async def _asked(  # noqa: PLR0913, PLR0917 - of one request
        self, method: str, path: str, body: bytes, headers: Headers, seconds: float, due: float, *, again: bool = False
    ) -> "HttpxExchange":
        moved = False
        while True:
            await self._places.take(again=moved)
            line = Line(self._lanes.take())
            extensions = {"lane": line.lane, "trace": line.trace}
            request = self._client.build_request(
                method, path, content=body or None, headers=headers, extensions=extensions
            )
            with suppress(ElsewhereError):
                return HttpxExchange(await self._sent(request, line, seconds, again=again), line, self, due)
            moved = True

    async def _sent(self, request: httpx.Request, line: Line, seconds: float, *, again: bool) -> httpx.Response:
        token = current_line.set(line)
        sending = self.keep(asyncio.create_task(self._client.send(request, stream=True)))
        current_line.reset(token)
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(sending)
        except asyncio.CancelledError:
            self.keep(asyncio.create_task(self._given_up(line, sending)))
            raise
        except TimeoutError:
            self.keep(asyncio.create_task(self._given_up(line, sending)))
            raise UpstreamTimeoutError(f"{self.provider} did not answer in time", provider=self.provider) from None
        except FAULTS as error:
            self.left(line)
            raise self.told(error, line, again=again) from None
        except BaseException:
            self.left(line)
            raise

    def told(self, error: BaseException, line: Line, *, again: bool = False, reading: bool = False) -> Exception:
        """In our words; where HTTP/2 was spoken wrongly the connection is of no use to others either."""
        ours = in_our_words(error, self.provider, line, again=again, reading=reading)
        if isinstance(ours, UpstreamMalformedError):
            self.keep(asyncio.create_task(line.sever()))
        return ours

    async def _given_up(self, line: Line, sending: "asyncio.Task[httpx.Response]") -> None:
        try:
            await line.abort()
            await ended(line, sending)
            with suppress(ElsewhereError, CapacityError, *FAULTS):  # it failed because its socket was cut
                await self._let_go_of(await sending, line)
        finally:
            self.left(line)

    async def _let_go_of(self, response: httpx.Response, line: Line) -> None:
        if line.number:
            await ended(line, self.keep(asyncio.create_task(read_away(line, response.aiter_raw()))))
        await response.aclose()

    def left(self, line: Line) -> None:
        """Once per call: its place, and its lane's, are for others."""
        line.left()
        self._places.leave()
        self._lanes.leave(line.lane, admitted=bool(line.number))

    def keep(self, task: "asyncio.Task[T]") -> "asyncio.Task[T]":
        """Hold on to a task that nobody awaits."""
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task


async def ended(line: Line, task: "asyncio.Task[T]") -> None:
    """Wait for what was cut off. A stream of HTTP/2 that does not end holds up all others of its connection."""
    while not task.done():
        await asyncio.wait([task], timeout=STUCK_SECONDS)
        if not task.done() and line.number:
            await line.sever()


async def read_away(line: Line, pieces: AsyncIterator[bytes]) -> None:
    """Until the cut: in HTTP/2 all streams share one window, and what nobody reads stays in it."""
    with line.reading(), suppress(*FAULTS):
        async for _ in pieces:
            pass


class HttpxExchange:
    def __init__(self, response: httpx.Response, line: Line, upstream: HttpxUpstream, due: float) -> None:
        self.status = response.status_code
        self.headers: Headers = response.headers.raw
        self.connecting = line.connecting or 0.0
        encoding = response.headers.get("content-encoding", "").strip().lower().encode()
        self.fault = "" if encoding in IDENTITY | ENCODINGS else "is packed in a way we did not ask for"
        if "content-length" in response.headers and "transfer-encoding" in response.headers:
            self.fault = "is not HTTP"  # RFC 9112 §6.3: perhaps an attempt at splitting it in two
        self._inflater = Inflater(upstream.limits.answer_bytes) if encoding in ENCODINGS else None
        self._response = response
        self._line = line
        line.waiting = False
        self._pieces: AsyncIterator[bytes] = aiter(response.stream)  # type: ignore[arg-type] # a client's is asynchronous
        self._reading: asyncio.Task[bytes] | None = None
        self._upstream = upstream
        self._due = due
        self._closing = False

    async def read(self) -> bytes:
        limits = self._upstream.limits
        left = self._due - time.monotonic()
        self._reading = asyncio.create_task(self._next())
        try:
            async with asyncio.timeout(min(limits.idle, left)):
                return await asyncio.shield(self._reading)
        except TimeoutError:
            what = "did not come to an end" if left <= limits.idle else "fell silent in mid-answer"
            raise UpstreamTimeoutError(f"{self._upstream.provider} {what}", provider=self._upstream.provider) from None
        except InflatingError as error:
            message = f"{self._upstream.provider}'s answer cannot be unpacked: {error}"
            raise UpstreamMalformedError(message, provider=self._upstream.provider) from None
        except FAULTS as error:
            raise self._upstream.told(error, self._line, reading=True) from error

    async def read_all(self) -> bytes:
        """The whole body; raises UpstreamMalformedError for one over the limit, as soon as that is known."""
        limit = self._upstream.limits.answer_bytes
        said = self._response.headers.get("content-length", "")
        pieces: list[bytes] = []
        size = 0
        while not (said.isdigit() and int(said) > limit):
            if not (piece := await self.read()):
                return b"".join(pieces)
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                break
        message = f"{self._upstream.provider}'s answer is larger than {limit} bytes"
        raise UpstreamMalformedError(message, provider=self._upstream.provider)

    def close(self, *, done: bool = False) -> None:
        """Httpx can only close by waiting; a task of its own waits."""
        if self._closing:
            return
        self._closing = True
        if self._response.is_closed:
            self._released()
        else:
            self._upstream.keep(asyncio.create_task(self._let_go(done=done)))

    async def _next(self) -> bytes:
        with self._line.reading():
            async for piece in self._pieces:
                plain = piece if self._inflater is None else self._inflater.feed(piece)
                if plain:
                    return plain
            if not self._response.is_closed:
                if not self._line.number:
                    drop_if_more_came(self._response)
                await self._response.aclose()
        if self._inflater is not None and not self._inflater.ended:
            raise InflatingError("it has no end")
        return b""

    async def _let_go(self, *, done: bool) -> None:
        """What is left of a body is mostly its last chunk: reading it saves the connection. More is cut off."""
        reading = self._reading
        if done and (reading is None or reading.done()):
            reading = asyncio.create_task(self._next())
            await asyncio.wait([reading], timeout=LINGER_SECONDS)
        try:
            if not self._response.is_closed:
                await self._line.abort()
            if reading is not None:
                await ended(self._line, reading)
                with suppress(*FAULTS, httpx.StreamError, InflatingError):
                    await reading
            if self._line.number:
                await ended(self._line, asyncio.create_task(read_away(self._line, self._pieces)))
            await self._response.aclose()
        finally:
            self._released()

    def _released(self) -> None:
        """A response and its stream hold each other, and so the request's body: megabytes until the next collection."""
        self._response.stream = httpx.ByteStream(b"")
        self._upstream.left(self._line)
