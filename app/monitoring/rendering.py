"""How a log line that is not a call's is written: as one JSON object, or for people.

Whatever it was made of, it is one line, no terminal obeys it, and it is of bounded length.
"""

import re
import struct
from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from app.domain.visible import shortened, visible

LONGEST = 8192
"""Bytes of a JSON line; of one for people, characters of a value."""
HEAD = ("time", "level", "event", "logger")
FITTING = (6000, 3000, 1000, 200, 40)
TRACES = ("stack", "stack_info", "exception")
DROPPED = ("color_message",)  # uvicorn's, the same text with colours
INDENT = "    "

Event = structlog.typing.EventDict
Render = Callable[[Any, str, Event], str]


def as_json(_: Any, __: str, event: Event) -> str:
    """One JSON object, its first fields those of a call's line; it never fails, and is at most 8 KiB."""
    found = {name: event[name] for name in HEAD if name in event}
    found |= {name: value for name, value in event.items() if name not in DROPPED}
    line = _encoded(found)
    for limit in FITTING:
        if _fits(line):
            return line
        line = _encoded({name: _cut(value, limit) for name, value in found.items()})
    if not _fits(line):
        line = _encoded({name: _cut(found[name], FITTING[-1]) for name in HEAD if name in found} | {"cut": True})
    return line


def for_people(*, colors: bool) -> Render:
    """One line; below it, indented, where an exception came from."""
    render = structlog.dev.ConsoleRenderer(
        colors=colors, timestamp_key="time", exception_formatter=structlog.dev.plain_traceback
    )

    def rendered(logger: Any, name: str, event: Event) -> str:
        trace = "\n".join(str(event.pop(name)) for name in TRACES if name in event)
        shown = {
            visible(str(key)): value if isinstance(value, int | float) else visible(shortened(_said(value), LONGEST))
            for key, value in event.items()
            if key not in DROPPED
        }
        below = [INDENT + visible(line) for line in shortened(trace, LONGEST).split("\n") if trace]
        return "\n".join([render(logger, name, shown), *below])

    return rendered


def _fits(line: str) -> bool:
    return len(line) * 3 <= LONGEST or len(line.encode()) <= LONGEST


def _cut(value: Any, limit: int) -> Any:
    if value is None or isinstance(value, int | float):
        return value
    return shortened(value if isinstance(value, str) else _said(value), limit)


def _said(value: Any) -> str:
    try:
        return value if isinstance(value, str) else str(value)
    except Exception as error:  # noqa: BLE001 - an object that cannot say what it is
        return f"<{type(value).__name__}: {type(error).__name__}>"


def _encoded(event: dict[str, Any]) -> str:
    try:
        line = _encode(event).decode()
    except Exception:  # noqa: BLE001 - what cannot be encoded: half a surrogate, a list in itself
        line = _encode({visible(_said(name)): visible(_said(value)) for name, value in event.items()}).decode()
    return line if line.isprintable() else _unseen.sub(_escaped, line)


def _escaped(match: re.Match[str]) -> str:
    """As JSON escapes; outside its strings a JSON text is printable anyway."""
    if match[0].isprintable():
        return match[0]
    units = struct.iter_unpack(">H", match[0].encode("utf-16-be"))
    return "".join(f"\\u{unit:04x}" for (unit,) in units)


_encode = msgspec.json.Encoder(enc_hook=_said).encode
_unseen = re.compile(r"[^ -~]")
