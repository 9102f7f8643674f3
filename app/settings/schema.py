"""The configuration file's JSON schema, from the types that read it."""

from inspect import cleandoc
from typing import Any

import msgspec

from app.settings.model import Settings
from app.settings.types import Secret


def _hook(kind: type[Any]) -> dict[str, Any]:
    if kind is Secret:
        return {"type": "string"}
    raise NotImplementedError(kind)  # what msgspec wants of a hook for a type it does not know


def schema() -> str:
    """JSON Schema 2020-12, indented, ending without a line end."""
    made = msgspec.json.schema(Settings, schema_hook=_hook)
    made = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Signalbox", **made}
    for definition in made["$defs"].values():
        if "description" in definition:  # since 3.13 Python takes the indentation out by itself
            definition["description"] = cleandoc(definition["description"])
    return msgspec.json.format(msgspec.json.encode(made, enc_hook=str), indent=2).decode()
