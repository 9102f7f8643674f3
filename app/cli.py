"""The command line."""

import http.client
import os
import platform
import socket
import ssl
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import SplitResult, urlsplit

import msgspec
import rich_click as click

from app import __version__
from app.settings import (
    ConfigError,
    Loaded,
    ServerSettings,
    Settings,
    check_exposure,
    effective,
    load,
    local_address,
)

if TYPE_CHECKING:
    from app.container import Container
    from app.monitoring.writer import LineWriter

CONFIG = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The configuration file; else SIGNALBOX_CONFIG, else config/signalbox.yaml where there is one.",
)

LEVELS = ["debug", "info", "warning", "error", "critical"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="signalbox")
def main() -> None:
    """The LLM gateway that notices: one OpenAI-compatible door in front of many providers."""


@main.command()
@CONFIG
@click.option("--host", help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="The port to listen on; 0 takes a free one.")
@click.option("--log-level", type=click.Choice(LEVELS, case_sensitive=False), help="What is worth a line.")
@click.option(
    "--insecure-allow-unauthenticated",
    is_flag=True,
    help="Listen beyond this machine without any API key: whoever reaches the port spends your money.",
)
def serve(
    config: Path | None,
    host: str | None,
    port: int | None,
    log_level: str | None,
    insecure_allow_unauthenticated: bool,  # noqa: FBT001 - click passes it by name
) -> None:
    """Start the gateway; SIGTERM and Ctrl-C let running calls end, SIGHUP reads the configuration again.

    Exit status: 0 when all calls had ended at the stop or it had not started yet, 3 when some were cut, 1 when it could
    not start.
    """

    def read() -> Loaded:
        found = load(config)
        wanted = _with_flags(found.settings, host, port, log_level, insecure_allow_unauthenticated)
        return msgspec.structs.replace(found, settings=wanted)

    loaded = _read(read)
    _check_exposure(loaded.settings)

    from app import logs  # noqa: PLC0415 - the other commands are quicker without the server
    from app.banner import banner  # noqa: PLC0415 - the other commands need not wait for it
    from app.container import Container  # noqa: PLC0415 - the other commands need not wait for it
    from app.server import Source, serve  # noqa: PLC0415 - the other commands need not wait for it

    settings, listener, aside = _listening(loaded.settings)
    container = Container(settings=settings)
    logs.configure(settings.log, writer=_writer(container, settings), clean=container.redact())
    logs.loaded(settings, file=loaded.file, notices=loaded.notices)
    click.echo(banner(settings, notices=loaded.notices), err=True)
    try:
        status = serve(container, listener, aside, Source(loaded, read))
    except ConfigError as error:
        _fail(str(error))
    sys.exit(status)


@main.command()
@CONFIG
def check(config: Path | None) -> None:
    """Print every setting in force and where it came from, secrets masked; exit 1 when one cannot be."""
    loaded = _load(config)
    rows = effective(loaded)
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for path, value, origin in rows:
        click.echo(f"{path:<{widths[0]}}  {value:<{min(widths[1], 40)}}  {origin}")
    for notice in loaded.notices:
        click.echo(f"note: {notice}", err=True)
    _check_exposure(loaded.settings)


@main.command()
@CONFIG
@click.option("--url", help="What to ask, as in http://host:port; else this machine's gateway.")
@click.option("--ready", is_flag=True, help="Ask whether it can serve, not only whether it lives.")
@click.option("--timeout", type=float, default=3.0, show_default=True, help="Seconds.")
def healthcheck(config: Path | None, url: str | None, timeout: float, *, ready: bool) -> None:
    """Exit 0 when the gateway on this machine answers 200, 1 otherwise; needs no curl in the container.

    Over TLS the certificate of this machine's own gateway is not checked: it is for other names. That of --url is.
    """
    path = "/health/ready" if ready else "/health/live"
    try:
        found = _asked(url or local_address(load(config).settings.server), path, timeout, trusting=not url)
    except ConfigError as broken:
        # what runs goes on by the configuration it was started with
        if any(_asked(address, path, timeout, trusting=True) == "" for address in _without_file()):
            found = ""
            click.echo(f"note: {broken}", err=True)
        else:
            found = str(broken)
    if found:
        _fail(found)
    click.echo("ok")


@main.command()
def version() -> None:
    """Print the version."""
    click.echo(f"signalbox {__version__} (Python {platform.python_version()}, {platform.system()})")


@main.command()
def schema() -> None:
    """Print the JSON schema of the configuration file."""
    from app.settings.schema import schema as made  # noqa: PLC0415 - the other commands need not wait for it

    click.echo(made())


def _asked(address: str, path: str, timeout: float, *, trusting: bool) -> str:
    """What is wrong, if anything is."""
    try:
        parts = urlsplit(address)
        connection = _connection(parts, timeout, trusting=trusting)
        connection.request("GET", parts.path if parts.path not in {"", "/"} else path)
        status = connection.getresponse().status
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"no answer from {address}: {getattr(error, 'strerror', None) or error or type(error).__name__}"
    return "" if status == 200 else f"{address} answered {status}"


def _without_file() -> list[str]:
    """Where a gateway listens whose file says nothing of that, with TLS or without."""
    try:
        server = load(Path(os.devnull)).settings.server
    except ConfigError:
        return []
    _, _, place = local_address(server).partition("://")
    return [f"http://{place}", f"https://{place}"]


def _connection(parts: SplitResult, timeout: float, *, trusting: bool) -> http.client.HTTPConnection:
    if parts.scheme != "https":
        return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    context = ssl.create_default_context()
    if trusting:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=timeout, context=context)


def _load(config: Path | None) -> Loaded:
    return _read(partial(load, config))


def _read(read: Callable[[], Loaded]) -> Loaded:
    try:
        return read()
    except ConfigError as error:
        _fail(str(error), *map(str, error.others))


def _writer(container: "Container", settings: Settings) -> "LineWriter":
    """Where the log goes; a plugin's metrics are asked for too, since they may be wrong."""
    try:
        container.monitoring.custom()
        writer: LineWriter = container.monitoring.writer()
    except ConfigError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"cannot write the log file {settings.log.file}: {error.strerror or error}")
    return writer


def _with_flags(
    settings: Settings,
    host: str | None,
    port: int | None,
    log_level: str | None,
    insecure: bool,  # noqa: FBT001 - a flag is what it is
) -> Settings:
    given: dict[str, Any] = {"host": host, "port": port}
    server = msgspec.structs.replace(
        settings.server,
        insecure_allow_unauthenticated=insecure,
        **{name: value for name, value in given.items() if value is not None},
    )
    log = msgspec.structs.replace(settings.log, level=log_level or settings.log.level)
    return msgspec.structs.replace(settings, server=server, log=log)


def _listening(settings: Settings) -> tuple[Settings, socket.socket, socket.socket | None]:
    """The sockets, the one for metrics last, and the settings with the ports they have."""
    from app.server import bound  # noqa: PLC0415 - the other commands need not wait for it

    def at(where: ServerSettings, setting: str) -> socket.socket:
        try:
            return bound(where)
        except OSError as error:
            _fail(f"cannot listen on {where.host}:{where.port} ({setting}): {error.strerror or error}")

    listener = at(settings.server, "server.port")
    aside = None if settings.aside is None else at(settings.aside, "metrics.port")
    metrics = settings.metrics
    if aside is not None:
        metrics = msgspec.structs.replace(metrics, port=aside.getsockname()[1])
    server = msgspec.structs.replace(settings.server, port=listener.getsockname()[1])
    return msgspec.structs.replace(settings, server=server, metrics=metrics), listener, aside


def _check_exposure(settings: Settings) -> None:
    try:
        check_exposure(settings)
    except ConfigError as error:
        _fail(str(error))


def _fail(*messages: str) -> NoReturn:
    for message in messages:
        click.echo(f"signalbox: {message}", err=True)
    sys.exit(1)
