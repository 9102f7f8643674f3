"""Takes a changed configuration while calls go on: read, checked, built beside the old one, then put in its place."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from app import logs
from app.container import Container, successor
from app.controllers.door import Door
from app.life import Life
from app.main import create_server
from app.monitoring.configuration import Result
from app.plugin import ContainerPlugin
from app.settings import ConfigError, Loaded, ServerSettings, Settings
from app.settings.changes import changed, digest_of, taken
from app.settings.tls import Presented, held
from app.shortcut import Shortcut

logger = structlog.get_logger("signalbox.configuration")


class Reloader:
    """Asked by a signal and by who watches the file; answers one after the other.

    What is wrong leaves everything as it was. What needs a restart is left out, and said so. The switch itself is one
    step of the event loop: a request sees the old configuration or the new one.
    """

    def __init__(
        self, application: Shortcut, aside: Shortcut | None, loaded: Loaded, read: Callable[[], Loaded]
    ) -> None:
        """`loaded` is what runs, as it was asked for; `read` reads it again."""
        self._application = application
        self._aside = aside
        self._started = loaded.settings
        self._loaded = loaded
        self._read = read
        self._asked: list[str] = []
        self._wanted = asyncio.Event()
        self._stopped = False
        self.taken: Callable[[Settings], object] = _nobody
        """Told of the settings that are in force from now on."""
        self.certificate = Presented(ServerSettings())
        """What the ports show; they speak no TLS unless it says so."""

    @property
    def life(self) -> Life:
        life: Life = self._application.app.state.life
        return life

    @property
    def file(self) -> Path | None:
        return self._loaded.file

    @property
    def digest(self) -> str:
        """Of the file as it was read last."""
        contents = self._loaded.contents
        return "" if contents is None else contents.digest

    def certificate_held(self) -> bytes:
        """The digest of what the files of the certificate hold; reads them."""
        return held(self.life.container.settings().server)

    def ask(self, why: str) -> None:
        self._asked.append(why)
        self._wanted.set()

    def stop(self) -> None:
        """The process drains: it ends as what it is, and a reload under way is given up."""
        self._stopped = True

    async def run(self) -> None:
        """The worker."""
        configuration = self.life.container.monitoring.configuration()
        configuration.digest = digest_of(self.life.container.settings())
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            why, self._asked = ", ".join(dict.fromkeys(self._asked)), []
            if not self._stopped:
                await self.reload(why)

    async def reload(self, why: str) -> None:
        before = self.life.container
        configuration = before.monitoring.configuration()
        try:
            loaded = await asyncio.to_thread(self._read)
            self._check_written(loaded)
            settings, waiting = taken(before.settings(), self._started, loaded.settings)
            different = _different(before, settings)
            prepared = await asyncio.to_thread(_prepared, before, settings) if different else None
            renewed = await asyncio.to_thread(self.certificate.newer, settings.server)
            if self._stopped:
                return
            if prepared is not None:
                self._switch(*prepared)
            if renewed is not None:
                self.certificate.become(renewed)
                different = sorted({*different, "server.tls_certificate"})
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, what runs goes on
            said = before.redact()(str(error) or type(error).__name__)
            if isinstance(error, ConfigError):
                said += f"; and {len(error.others)} more" if error.others else ""
            else:
                said = f"{type(error).__name__}: {said}"
            configuration.kept(said)
            before.health.service().outdated()
            logger.error(  # noqa: TRY400 - without a traceback: the reason says where the mistake is
                "configuration not taken; the one before goes on", asked_by=why, reason=said
            )
            return
        self._loaded = loaded
        result: Result = "partly" if waiting else "applied" if different else "unchanged"
        configuration.took(digest_of(settings), result=result, waiting=waiting)
        self.life.container.health.service().outdated()
        said = "configuration taken" if different or waiting else "configuration unchanged"
        logger.info(said, asked_by=why, changed=different, file=str(loaded.file or ""))
        if waiting:
            logger.warning("settings wait for a restart", settings=waiting)
        for notice in set(loaded.notices):
            logger.warning("configuration", notice=notice)

    def _check_written(self, loaded: Loaded) -> None:
        """A file that is gone is no file that says nothing: by the defaults all providers would go."""
        now, before = loaded.contents, self._loaded.contents
        if now is None and before is not None:
            raise ConfigError(str(self._loaded.file), "cannot be read: it is gone")
        if now is not None and now.blank and before is not None and not before.blank:
            message = "is empty, as a file is that is just being written; one that holds a comment means the defaults"
            raise ConfigError(str(loaded.file), message)

    def _switch(self, container: Container, after: Shortcut) -> None:
        """No step of this waits, so no request comes between two of them; what can fail comes first."""
        life, before = self.life, self.life.container
        logs.follow(container.settings().log.level, container.redact())
        try:
            life.pass_on(container)
        except BaseException:
            logs.follow(before.settings().log.level, before.redact())
            raise
        state = after.app.state
        after.app.plugins.get(ContainerPlugin).build(after.app)
        door: Door = self._application.app.state.door
        door.become(state.door)
        state.door, state.life = door, life
        for server in (self._application, self._aside):
            if server is not None:
                server.become(after)
        self.taken(container.settings())


def _different(before: Container, settings: Settings) -> list[str]:
    """The paths of what has changed, files that settings name among it."""
    renewed = before.network.upstreams().outdated(settings.providers)
    return sorted({*changed(before.settings(), settings), *(f"providers.{name}.ca_file" for name in renewed)})


def _prepared(before: Container, settings: Settings) -> tuple[Container, Shortcut]:
    """What takes its time, in a thread: certificates of authorities and routes are tens of milliseconds."""
    container = successor(before, settings)
    container.upstream.registry()
    return container, create_server(container)


def _nobody(_: Settings) -> None:
    return None
