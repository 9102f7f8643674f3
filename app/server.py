"""Runs the application until it is told to stop, and stops as `Drain` says."""

import asyncio
import socket
import ssl
import sys
from functools import partial
from types import FrameType
from typing import Any

import structlog
import uvicorn

from app.container import Container
from app.domain.errors import GatewayError
from app.front import Front
from app.heads import FrontLimits
from app.main import create_server
from app.services.drain import Drain
from app.settings import ServerSettings
from app.settings.tls import tls_context

UNREAD = "unread"
LAST_WORDS_SECONDS = 5.0
TLS_GOODBYE_SECONDS = 2.0
FILES_WANTED = 65_536

logger = structlog.get_logger("signalbox.server")


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


def serve(container: Container, listener: socket.socket, aside: socket.socket | None = None) -> None:
    """Serve until SIGTERM or SIGINT; returns when all is drained. On `aside` there are metrics and nothing else.

    Raises ConfigError for settings that the application cannot have.
    """
    settings = container.settings().server
    tls = tls_context(settings)
    metrics, journal = container.monitoring.metrics(), container.monitoring.journal()

    def refused(error: GatewayError, request_id: str) -> None:
        metrics.answers.refused("other", UNREAD, error.status_code, error.word)
        journal.refused(request_id=request_id, route=UNREAD, status_code=error.status_code, word=error.word)

    configured = partial(
        uvicorn.Config,
        http=partial(Front, limits=_limits(settings), refused=refused),  # type: ignore[arg-type] # called as a class
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=settings.keep_alive_seconds,  # type: ignore[arg-type] # seconds may have fractions
        timeout_graceful_shutdown=int(LAST_WORDS_SECONDS),
    )
    app = create_server(container)
    server = DrainingServer(configured(app), container.services.drain(), settings, tls)
    if aside is not None:
        server.aside = configured(app.aside()), aside
    metrics.connections = lambda: len(server.server_state.connections)
    server.run(sockets=[listener])


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
        self.aside: tuple[uvicorn.Config, socket.socket] | None = None
        """Another application, and where it listens: its connections and its end are this server's."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])  # all but the listening, where uvicorn would set no deadline for TLS
        for listener in sockets or ():
            await self._listen(self.config, listener)
        if self.aside is not None:
            await self._listen(*self.aside)

    async def _listen(self, config: uvicorn.Config, listener: socket.socket) -> None:
        if not config.loaded:
            config.load()
        protocol: Any = config.http_protocol_class  # a function is as good as a class
        connected = partial(protocol, config=config, server_state=self.server_state, app_state=self.lifespan.state)
        deadlines: dict[str, Any] = {}
        if self._tls is not None:
            deadlines["ssl_handshake_timeout"] = self._settings.header_seconds
            deadlines["ssl_shutdown_timeout"] = TLS_GOODBYE_SECONDS
        loop = asyncio.get_running_loop()
        server = await loop.create_server(connected, sock=listener, ssl=self._tls, backlog=config.backlog, **deadlines)
        self.servers.append(server)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._drain.announced:
            self.force_exit = True
        self._drain.announce()
        if not self._settings.drain_delay_seconds:
            self._drain.begin()
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Listeners stay open while calls run, so that a new one is told 503 and not merely refused."""
        if running := self._drain.running:
            logger.info(
                "stopping once running calls have ended; a second signal cuts them",
                calls=running,
                seconds=self._settings.drain_seconds,
            )
        draining = asyncio.create_task(self._drained())
        while not draining.done() and not self.force_exit:
            await asyncio.wait([draining], timeout=0.1)
        if not draining.done():
            draining.cancel()
            self._drain.begin()
            self._drain.cut()
        self.force_exit = False  # what is left is short and must be done: logs are written, connections closed
        await super().shutdown(sockets)
        logger.info("stopped")

    async def _drained(self) -> None:
        if self._settings.drain_delay_seconds:
            await asyncio.sleep(self._settings.drain_delay_seconds)
        self._drain.begin()
        if not await self._drain.empty(within=self._settings.drain_seconds):
            logger.warning("calls are cut", after_seconds=self._settings.drain_seconds)
            self._drain.cut()
            await self._drain.empty(within=LAST_WORDS_SECONDS)
