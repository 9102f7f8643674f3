"""Every setting there is, by walking the types."""

from collections.abc import Iterator
from typing import Any, get_args, get_origin

import msgspec
from msgspec.structs import FieldInfo

from app.settings import Settings

REQUIRED = "required"


def settings_of(row: str, kind: Any = Settings, under: str = "") -> Iterator[tuple[str, str]]:
    """Dotted path and default of each, as JSON; `row` stands where the operator gives a name."""
    for field in msgspec.structs.fields(kind):
        path = f"{under}{field.name}"
        if _is_section(field.type):
            yield from settings_of(row, field.type, f"{path}.")
        elif get_origin(field.type) is dict and (kind is Settings or _is_section(get_args(field.type)[1])):
            each = get_args(field.type)[1]
            if _is_section(each):
                yield from settings_of(row, each, f"{path}.{row}.")
            else:
                yield f"{path}.{row}", REQUIRED
        else:
            yield path, _default(field)


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _default(field: FieldInfo) -> str:
    if field.required:
        return REQUIRED
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return msgspec.json.encode(str(value) if isinstance(value, str) else value).decode()
