"""Joins the container to Litestar."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar
from litestar.config.app import AppConfig
from litestar.di import Provide
from litestar.plugins import InitPlugin

from app.container import Container
from app.controllers import Listener, check_declared
from app.controllers.door import Door
from app.controllers.visitors import Visitors
from app.life import Life
from app.settings import is_loopback


def provide(get: Callable[[], Any]) -> Provide:
    """A Litestar dependency from a container provider.

    Litestar reads the callable's signature and a compiled provider has none, hence the function.
    """

    def resolve() -> Any:
        return get()

    return Provide(resolve, sync_to_thread=False)


class ContainerPlugin(InitPlugin):
    def __init__(self, container: Container) -> None:
        self._container = container

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        self._container.check_dependencies()
        app_config.dependencies |= {
            "health": provide(self._container.health.service),
            "metrics": provide(self._container.monitoring.metrics),
            "summary": provide(self._container.monitoring.summary),
            "registry": provide(self._container.upstream.registry),
        }
        app_config.lifespan.append(self._lifespan)
        return app_config

    def build(self, app: Litestar) -> None:
        """Everything now: what is misconfigured fails the boot, not a request."""
        services, settings = self._container.services, self._container.settings()
        keys = services.keys()
        unguarded = not (keys.needed or settings.server.insecure_allow_unauthenticated)
        local, aside = (is_loopback(each.host) for each in (settings.server, settings.aside or settings.server))
        origins = settings.cors.origins
        app.state.listener = Listener(Visitors(origins=origins, loopback_only=unguarded), local)
        # metrics have their own rule beyond loopback, and a scraper comes by any name
        app.state.aside = Listener(Visitors(origins=origins, loopback_only=unguarded and aside), aside)
        app.state.door = Door(
            llm=services.llm(),
            keys=keys,
            wrong_keys=services.wrong_keys(),
            visitors=app.state.listener.visitors,
            metrics=self._container.monitoring.metrics(),
            passed=self._container.monitoring.passed(),
            journal=self._container.monitoring.journal(),
            tracing=self._container.monitoring.tracing(),
            drain=services.drain(),
            max_body_bytes=settings.server.max_body_bytes,
            max_in_flight=settings.server.max_in_flight,
        )
        app.state.drain = services.drain()
        app.state.metrics_enabled = settings.metrics.enabled
        app.state.metrics_public = settings.metrics.public
        app.state.public_details = settings.health.public_details

    @asynccontextmanager
    async def _lifespan(self, app: Litestar) -> AsyncIterator[None]:
        check_declared(app)
        self.build(app)
        life = app.state.life = Life(self._container)
        life.begin()
        try:
            yield
        finally:
            await life.end()
