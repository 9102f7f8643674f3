"""Runs the application until it is told to stop, and stops as `Drain` says."""

import asyncio
import os
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from functools import partial
from types import FrameType
from typing import Any, NamedTuple

import structlog
import uvicorn

from app import early
from app.background import Workers
from app.container import Container
from app.cycle import CLOSE
from app.domain.errors import GatewayError
from app.front import Front
from app.heads import FrontLimits
from app.main import create_server
from app.reload import Reloader
from app.services.drain import Drain
from app.settings import Loaded, ServerSettings, Settings
from app.settings.tls import Presented
from app.stacks import tell_stacks
from app.watching import FileWatch, RenewalWatch

UNREAD = "unread"
LAST_WORDS_SECONDS = 1.0
AT_MOST_SECONDS = 4.5
LAST_LINE_SECONDS = 0.3
LOOK_SECONDS = 0.1
FILES_WANTED = 65_536
CALLS_WERE_CUT = 3
"""The exit status of a stop that could not wait for all calls; 1 is a start that failed, 2 a wrong command line."""

logger = structlog.get_logger("signalbox.server")


class Source(NamedTuple):
    """The configuration as it was asked for, and how it is read again."""

    loaded: Loaded
    read: Callable[[], Loaded]


def bound(settings: ServerSettings) -> socket.socket:
    """A socket that listens where the settings say; raises OSError."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    listener.set_inheritable(True)
    return listener


def serve(
    container: Container, listener: socket.socket, aside: socket.socket | None = None, source: Source | None = None
) -> int:
    """Serve until SIGTERM or SIGINT; returns when all is drained, with the exit status.

    On `aside` there are metrics and nothing else; with a `source` the configuration may change. Raises ConfigError for
    settings that the application cannot have.
    """
    settings = container.settings().server
    certificate = Presented(settings)
    configured = _configured(container)
    app = create_server(container)
    server = DrainingServer(configured(app), container.services.drain(), settings, certificate.context)
    beside = None
    if aside is not None:
        beside = app.aside()
        server.aside = configured(beside), aside
    if source is not None:
        server.reloader = Reloader(app, beside, *source)
        server.reloader.certificate = certificate
    metrics = container.monitoring.metrics()
    metrics.connections.open = lambda: len(server.server_state.connections)
    metrics.certificate.validity = lambda: certificate.validity
    tell_stacks()
    server.run(sockets=[listener])
    return CALLS_WERE_CUT if server.cut else 0


def _configured(container: Container) -> Callable[..., uvicorn.Config]:
    """What uvicorn is told of an application."""
    settings = container.settings().server
    metrics, journal = container.monitoring.metrics(), container.monitoring.journal()

    def refused(error: GatewayError, request_id: str, client: str) -> None:
        status, word = error.status_code, error.word
        metrics.answers.refused("other", UNREAD, status, word)
        journal.refused(request_id=request_id, route=UNREAD, status_code=status, word=word, client=client)

    limits, crowd = _limits(settings), metrics.connections
    crowd.most = limits.connections
    return partial(
        uvicorn.Config,
        http=partial(Front, limits=limits, refused=refused, crowded=crowd.refuse),  # type: ignore[arg-type] # called
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=settings.keep_alive_seconds,  # type: ignore[arg-type] # seconds may have fractions
        timeout_graceful_shutdown=int(LAST_WORDS_SECONDS),
    )


def _limits(settings: ServerSettings) -> FrontLimits:
    files = allow_files(settings.max_in_flight)
    return FrontLimits(
        head_seconds=settings.header_seconds,
        body_seconds=settings.body_seconds,
        stall_seconds=settings.write_stall_seconds,
        head_bytes=settings.max_header_bytes,
        head_fields=settings.max_header_fields,
        url_bytes=settings.max_url_bytes,
        connections=files - files // 4,
    )


def allow_files(in_flight: int) -> int:
    """Have as many files as we may, and say how many.

    Each request in flight takes two, its caller's connection and the provider's; so callers get three quarters, and
    strangers who hold all of them cannot keep the others' calls from a provider.
    """
    if sys.platform == "win32":
        return FILES_WANTED
    import resource  # noqa: PLC0415 - only where there is one

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, FILES_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    if 0 <= soft < 2 * in_flight:
        logger.warning("too few open files are allowed for server.max_in_flight", files=soft, max_in_flight=in_flight)
    return soft if soft >= 0 else FILES_WANTED


class DrainingServer(uvicorn.Server):
    """On the first signal new calls are refused while the old ones run on; on the second it stops at once."""

    def __init__(
        self, config: uvicorn.Config, drain: Drain, settings: ServerSettings, tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(config)
        self._drain = drain
        self._settings = settings
        self._tls = tls
        self._workers = Workers()
        self._has_terminal = _has_terminal()
        self.cut = False
        """Calls did not end by themselves."""
        self.aside: tuple[uvicorn.Config, socket.socket] | None = None
        """Another application, and where it listens: its connections and its end are this server's."""
        self.reloader: Reloader | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        early.began()
        await super().startup([])  # all but the listening, where uvicorn would set no deadline for TLS
        for listener in sockets or ():
            await self._listen(self.config, listener)
        if self.aside is not None:
            await self._listen(*self.aside)
        if self.reloader is not None:
            self._begin_reloading(self.reloader)

    async def _listen(self, config: uvicorn.Config, listener: socket.socket) -> None:
        if not config.loaded:
            config.load()
        protocol: Any = config.http_protocol_class  # a function is as good as a class
        connected = partial(protocol, config=config, server_state=self.server_state, app_state=self.lifespan.state)
        deadlines: dict[str, Any] = {}
        if self._tls is not None:
            deadlines["ssl_handshake_timeout"] = self._settings.header_seconds
            # what is unsent when a connection is closed is thrown away then
            deadlines["ssl_shutdown_timeout"] = self._settings.write_stall_seconds
        loop = asyncio.get_running_loop()
        server = await loop.create_server(connected, sock=listener, ssl=self._tls, backlog=config.backlog, **deadlines)
        self.servers.append(server)

    def _begin_reloading(self, reloader: Reloader) -> None:
        reloader.taken = self._taken
        self._workers.start(reloader)
        if reloader.file is not None and self._settings.watch_config:
            changed = partial(reloader.ask, "a change of the file")
            self._workers.start(FileWatch(reloader.file, changed, digest=reloader.digest))
        if self._tls is not None and self._settings.watch_config:
            renewed, shown = partial(reloader.ask, "a renewed certificate"), reloader.certificate
            self._workers.start(RenewalWatch(reloader.certificate_held, lambda: shown.digest, renewed))
        if hasattr(signal, "SIGHUP"):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hung_up, reloader)

    def _hung_up(self, reloader: Reloader) -> None:
        """Who started it on a terminal and closes that wants it to stop; anybody else wants it to read again.

        Of a terminal that closes both the shell and the kernel tell, so none of these is a second signal.
        """
        if not self._has_terminal or _has_terminal():
            reloader.ask("SIGHUP")
        elif not self._drain.announced:
            self.handle_exit(signal.SIGHUP, None)

    def _taken(self, settings: Settings) -> None:
        self._settings = settings.server

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._drain.announced:
            self.force_exit = True
        self._drain.announce()
        if not self._settings.drain_delay_seconds:
            self._drain.begin()
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Listeners stay open while calls run, so that a new one is told 503 and not merely refused."""
        if self.reloader is not None:
            self.reloader.stop()
        if running := self._drain.running:
            logger.info(
                "stopping once running calls have ended; a second signal cuts them",
                calls=running,
                seconds=self._settings.drain_seconds,
            )
        draining = asyncio.create_task(self._drained())
        while not draining.done() and not self.force_exit:
            await asyncio.wait([draining], timeout=LOOK_SECONDS)
            if self._drain.begun:
                self._close_idle()
        if not draining.done():
            draining.cancel()
            self._drain.begin()
        self._limit()
        if self._drain.running:
            logger.warning("calls are cut", calls=self._drain.running, by_signal=self.force_exit)
            self.cut = True
            self._drain.cut()
            await self._drain.empty(within=LAST_WORDS_SECONDS)
        self.force_exit = False  # what is left is short and must be done: logs are written, connections closed
        stopping = asyncio.create_task(self._workers.aclose())
        await asyncio.wait([stopping], timeout=LAST_WORDS_SECONDS)
        logger.info("stopped", calls_cut=self.cut)
        await super().shutdown(sockets)

    async def _drained(self) -> None:
        if self._settings.drain_delay_seconds:
            await asyncio.sleep(self._settings.drain_delay_seconds)
        self._drain.begin()
        await self._drain.empty(within=self._settings.drain_seconds)

    def _close_idle(self) -> None:
        """Kept connections are closed; those with a request under way are, once it is answered.

        Answers say so: else their callers would send the next request into a connection that is being closed.
        """
        first = CLOSE not in self.server_state.default_headers
        self.server_state.default_headers = [(b"date", formatdate(usegmt=True).encode()), CLOSE]
        for connection in list(self.server_state.connections):
            assert isinstance(connection, Front)
            cycle = connection.cycle
            idle = cycle is not None and cycle.response_complete and not connection.waiting_for_head
            if idle or (first and cycle is not None and not cycle.response_complete):
                connection.shutdown()

    def _limit(self) -> None:
        """Whatever hangs now, a disk or a thread, the process is gone in time."""

        def end() -> None:
            logger.error("the stop hangs; the process ends as it is")
            time.sleep(LAST_LINE_SECONDS)
            os._exit(CALLS_WERE_CUT)

        timer = threading.Timer(AT_MOST_SECONDS, end)
        timer.daemon = True
        timer.start()


def _has_terminal() -> bool:
    try:
        return sys.stdin is not None and os.isatty(sys.stdin.fileno())
    except (OSError, ValueError):
        return False
