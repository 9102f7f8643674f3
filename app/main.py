"""Application factories: `signalbox serve` uses them, and so may any ASGI server."""

from collections.abc import Sequence

from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.exceptions import HTTPException

from app import __version__
from app.container import Container
from app.controllers import ROUTE_HANDLERS, Policy, enforce, openapi_config, paths_of, render_error
from app.domain.errors import GatewayError
from app.plugin import ContainerPlugin
from app.settings import ConfigError, Settings, load
from app.shortcut import Shortcut

EXPOSED = [
    "x-request-id",
    "x-trace-id",
    *(f"x-signalbox-{name}" for name in ("provider", "model", "cache", "attempts", "cost", "error")),
    "cache-status",
    "age",
    "server-timing",
    "retry-after",
]


def create_app(container: Container | None = None) -> Litestar:
    container = container or Container(settings=load().settings)
    origins = container.settings().cors.origins
    return Litestar(
        route_handlers=ROUTE_HANDLERS,
        plugins=[ContainerPlugin(container)],
        guards=[enforce],
        exception_handlers={GatewayError: render_error, HTTPException: render_error, Exception: render_error},
        cors_config=_cors(origins) if origins else None,
        openapi_config=openapi_config(__version__),
        logging_config=None,
    )


def _cors(origins: Sequence[str]) -> CORSConfig:
    return CORSConfig(
        allow_origins=[origin.rstrip("/") for origin in origins],
        allow_methods=["GET", "POST"],
        expose_headers=EXPOSED,
    )


def create_server(container: Container | None = None) -> Shortcut:
    """The same application, its hot routes found without a walk: what a server should be given.

    Raises ConfigError where the operator's own paths are somebody else's.
    """
    container = container or Container(settings=load().settings)
    app = create_app(container)
    return Shortcut(app, aliases=_aliases(app, container.settings()))


def _aliases(app: Litestar, settings: Settings) -> dict[str, str]:
    """For every path of the operator's own the one it means."""
    taken = {each.path for each in app.routes}
    found = {}
    for section, meant, paths, same in (
        ("metrics", "/metrics", settings.metrics.paths, paths_of(app, Policy.METRICS)),
        ("health", "/health", settings.health.paths, {"/health"}),
    ):
        for path in (each.rstrip("/") for each in paths):
            if path in taken - same:
                raise ConfigError(f"{section}.paths", f"{path} is the path of something else")
            if path not in same:
                found[path] = meant
    return found
