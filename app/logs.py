"""Where log lines that are not calls go: structlog, the standard library's loggers, warnings, and what nobody caught.

All of them end in the one writer that call lines have too, in the same form, one line each.
"""

import atexit
import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import structlog

from app.domain.visible import visible
from app.monitoring.rendering import Render, as_json, for_people
from app.monitoring.writer import LineWriter
from app.settings import LogSettings, Settings, local_address, style_of

OURS = ("signalbox", "app")
UVICORN = ("uvicorn", "uvicorn.error")
CHATTY = ("httpx", "httpcore", "watchfiles")

logger = logging.getLogger("signalbox.server")


def configure(settings: LogSettings, *, writer: LineWriter, clean: Callable[[str], str] = str) -> None:
    """For the whole process, once, before anything is served; at its end the last lines are waited for.

    `clean` takes our secrets out of lines: an exception may quote an address, or a header.
    """
    style = style_of(settings, terminal=sys.stdout.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt=None if style == "json" else "%H:%M:%S", key="time", utc=True),
    ]
    render = as_json if style == "json" else for_people(colors=sys.stdout.isatty() and not settings.file)
    last: list[structlog.typing.Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        render,
    ]
    handler = _Handler(writer, render, clean)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last))
    logging.getLogger().handlers = [handler]
    set_level(settings.level)
    logging.captureWarnings(True)  # noqa: FBT003 - the library's
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    sys.unraisablehook = _unraisable
    atexit.register(writer.close)


def follow(level: str, clean: Callable[[str], str]) -> None:
    """Other settings are in force: what is worth a line, and what must not stand in one."""
    set_level(level)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _Handler):
            handler.clean = clean


def loaded(settings: Settings, *, file: Path | None, notices: Sequence[str]) -> None:
    """What was read at the start; the values themselves are what `signalbox check` prints."""
    found = {
        "file": str(file or ""),
        "address": local_address(settings.server),
        "providers": len(settings.providers),
        "routes": len(settings.routes),
        "keys": len(settings.keys),
        "log_level": settings.log.level,
    }
    logger.info("configuration loaded", extra=found)
    for notice in notices:
        logger.warning("configuration", extra={"notice": notice})


def set_level(wanted: str) -> None:
    """Of others' loggers no debug lines: libraries print headers there, and with them keys."""
    level = getattr(logging, wanted.upper())
    logging.getLogger().setLevel(max(logging.INFO, level))
    for name in OURS:
        logging.getLogger(name).setLevel(level)
    for name in UVICORN:
        logging.getLogger(name).setLevel(logging.INFO if level == logging.DEBUG else max(logging.WARNING, level))
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, level))


class _Handler(logging.Handler):
    """Hands each line to the writer; one that cannot be made is replaced by what can be said of it."""

    def __init__(self, writer: LineWriter, render: Render, clean: Callable[[str], str]) -> None:
        super().__init__()
        self.clean = clean
        self._writer = writer
        self._render = render

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING and not self._is_worth_a_line(record):
            return
        try:
            line = self.clean(self.format(record))
        except Exception as error:  # noqa: BLE001 - whatever a library's arguments do, its caller is not hurt
            line = self.clean(self._render(None, "", _basics(record, error)))
        self._writer.write(line.encode("utf-8", "backslashreplace") + b"\n")

    def _is_worth_a_line(self, record: logging.LogRecord) -> bool:
        """What fails at every call is told a hundred times a second, and then how often it was not."""
        said: Any = record.msg  # structlog's is a mapping
        held = self._writer.sparing.takes(f"{record.name} {said.get('event') if isinstance(said, dict) else said}")
        if held and isinstance(said, dict):
            record.msg = said | {"left_out": held}
        elif held:
            record.left_out = held
        return held is not None


def _basics(record: logging.LogRecord, error: Exception) -> dict[str, Any]:
    said = {"event": "a line could not be made", "template": record.msg, "error": type(error).__name__}
    return {"time": time.time(), "level": record.levelname.lower(), "logger": record.name} | said


def _uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    logger.critical("the process ends: nobody caught an exception", exc_info=(kind, error, traceback))
    if sys.stderr is not None:
        sys.stderr.write(f"signalbox: {kind.__name__}: {visible(str(error))} (the log has more)\n")


def _uncaught_in_thread(args: "threading.ExceptHookArgs") -> None:
    if not issubclass(args.exc_type, SystemExit) and args.exc_value is not None:
        thread = args.thread.name if args.thread else ""
        logger.error(
            "a thread ended: nobody caught an exception",
            exc_info=(args.exc_type, args.exc_value, args.exc_traceback),
            extra={"thread_name": thread},
        )


def _unraisable(args: "sys.UnraisableHookArgs") -> None:
    error = args.exc_value
    logger.error(
        "an exception could not be raised",
        exc_info=None if error is None else (args.exc_type, error, args.exc_traceback),
        extra={"of": repr(args.object)},
    )
