"""Reads the settings once and says of each where it came from."""

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec
from msgspec import Struct

from app.settings import known
from app.settings.checking import check
from app.settings.draft import ConfigError, Draft, leaves
from app.settings.environment import CONFIG, read_into, with_files_read
from app.settings.model import Settings
from app.settings.reading import Contents, read, shared_secrets
from app.settings.types import Secret

DEFAULT_FILE = Path("config/signalbox.yaml")
MOST_MISTAKES = 20
WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping of settings",
    "null": "nothing",
}

_kinds = re.compile(r"Expected `([a-z |]+)`, got `([a-z]+)`").fullmatch

_variable = re.compile(r"\$\{(\w+)(?::-(.*))?\}").fullmatch


class Loaded(Struct, frozen=True):
    """`origins` has a dotted path for every value that is not a default; `notices` are for the operator to read."""

    settings: Settings
    origins: dict[str, str]
    notices: list[str]
    file: Path | None
    contents: Contents | None = None


def load(config: Path | None = None, environ: Mapping[str, str] = os.environ) -> Loaded:
    """Defaults, then the file, then the environment.

    The file is `config`, else the one `SIGNALBOX_CONFIG` names, else `config/signalbox.yaml` in the working
    directory if there is one. Raises ConfigError naming the offending path.
    """
    draft = Draft()
    variables = with_files_read(environ)
    file = config or (Path(variables[CONFIG]) if CONFIG in variables else None)
    if file is None and DEFAULT_FILE.exists():
        file = DEFAULT_FILE
    contents = None
    if file is not None:
        contents = read(file)
        draft.lines = contents.lines
        draft.merge(_expanded(contents.values, variables, draft), str(file))
        if shared := shared_secrets(file, contents.values):
            draft.notice(f"everybody on this machine can read {file}, and secrets stand in it: {', '.join(shared)}")
    try:
        settings = _checked(draft, variables)
    except ConfigError as error:
        raise error.placed(draft) from None
    origins = {".".join(path): origin for path, origin in draft.origins.items()}
    return Loaded(settings, origins, draft.notices, file, contents)


def _checked(draft: Draft, variables: Mapping[str, str]) -> Settings:
    read_into(draft, variables)
    _complete(draft)
    mistakes: list[ConfigError] = []
    sections = {name: _section_without(mistakes, draft, name, kind) for name, kind in _sections() if name in draft.tree}
    for path in sorted(draft.tree.keys() - {name for name, _ in _sections()}):
        near = get_close_matches(path, [name for name, _ in _sections()], n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        message = f"is no section of the configuration{hint}"
        mistakes.append(ConfigError(path, message, origin=_around(draft, path)))
    if mistakes:
        mistakes[0].others = mistakes[1:MOST_MISTAKES]
        raise mistakes[0]
    settings = Settings(**sections)
    check(settings, draft)
    return settings


def _section_without(mistakes: list[ConfigError], draft: Draft, name: str, kind: Any) -> Any:
    """The section, less what is wrong in it: one mistake hides no other."""
    while name in draft.tree and len(mistakes) < MOST_MISTAKES:
        try:
            return _section(draft, name, kind)
        except ConfigError as error:
            mistakes.append(error)
            if not (error.at and draft.drop(error.at)):
                break
    return None


def _expanded(value: Any, variables: Mapping[str, str], draft: Draft, path: tuple[str, ...] = ()) -> Any:
    """`${NAME}` and `${NAME:-otherwise}`, where that is the whole value."""
    match value:
        case dict():
            return {key: _expanded(each, variables, draft, (*path, str(key))) for key, each in value.items()}
        case list():
            return [_expanded(each, variables, draft, (*path, str(at))) for at, each in enumerate(value)]
        case str() if written := _variable(value):
            if written[1] not in variables and written[2] is None:
                origin = f"{'.'.join(path)}, line {draft.lines[path]}" if path in draft.lines else ".".join(path)
                raise ConfigError(value, "names a variable that is not set", origin=origin)
            return variables.get(written[1], written[2])
    return value


def _complete(draft: Draft) -> None:
    """Usual addresses of well-known rows; the demo when there is no provider at all; the level as we write it."""
    log = draft.tree.get("log")
    if isinstance(log, dict) and isinstance(log.get("level"), str):
        log["level"] = known.level(log["level"])
    rows = draft.rows("providers")
    for name, row in rows.items():
        if isinstance(row, dict) and row.get("kind") != "demo":
            if not row.get("base_url") and name in known.BASE_URLS:
                draft.put(("providers", name, "base_url"), known.BASE_URLS[name], "usual address")
            if name in known.PREFIX_ONLY:
                row.setdefault("prefix_only", True)
    if not rows:
        draft.put(("providers", "demo", "kind"), "demo", "built in: no provider is configured")


def _sections() -> list[tuple[str, Any]]:
    return [(each.name, each.type) for each in msgspec.structs.fields(Settings)]


def _section(draft: Draft, name: str, kind: Any) -> Any:
    value = draft.tree[name]
    if get_origin(kind) is dict and isinstance(value, dict):
        row_kind = get_args(kind)[1]
        return {row: _converted(draft, each, row_kind, (name, row)) for row, each in value.items()}
    for field in msgspec.structs.fields(kind) if isinstance(value, dict) and get_origin(kind) is None else ():
        if get_origin(field.type) is dict and isinstance(rows := value.get(field.name), dict):
            for row, each in rows.items():  # for their errors, in which msgspec does not name the row
                _converted(draft, each, get_args(field.type)[1], (name, field.name, row))
    return _converted(draft, value, kind, (name,))


def _converted(draft: Draft, value: Any, kind: Any, path: tuple[str, ...]) -> Any:
    try:
        return msgspec.convert(value, kind, strict=False, dec_hook=_decode)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$")
        path = (*path, *(each for each in re.split(r"[.\[\]]+", place.rstrip("`")) if each))
        if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", message):
            near = get_close_matches(unknown[1], _names_in(kind), n=1)
            message = f"is not a setting; did you mean {near[0]}?" if near else "is not a setting"
            path = (*path, unknown[1])
        if kinds := _kinds(message):
            message = f"must be {_in_words(kinds[1])}, and is {_in_words(kinds[2])}"
        if message.startswith("Invalid enum value"):
            message = f"{message.removeprefix('Invalid enum value ')} is not one of {', '.join(_choices(kind, path))}"
        wrong = ConfigError(".".join(path), message, origin=draft.origin_of(path))
        wrong.at = path
        raise wrong from None


def _names_in(kind: Any) -> list[str]:
    """The settings in a section, and in the sections in it."""
    names: list[str] = []
    if isinstance(kind, type) and issubclass(kind, Struct):
        for each in msgspec.structs.fields(kind):
            names += [each.name, *_names_in(each.type)]
    return names


def _choices(kind: Any, path: tuple[str, ...]) -> list[str]:
    """The words a setting may be; `path` ends in its name."""
    for each in msgspec.structs.fields(kind) if isinstance(kind, type) and issubclass(kind, Struct) else ():
        if get_origin(each.type) is Literal and each.name == path[-1]:
            return [str(word) for word in get_args(each.type)]
        if found := _choices(each.type, path):
            return found
    return []


def _in_words(kinds: str) -> str:
    return " or ".join(WORDS.get(kind, kind) for kind in kinds.split(" | "))


def _around(draft: Draft, section: str) -> str:
    """Where anything below a section came from."""
    return next((origin for path, origin in draft.origins.items() if path[0] == section), "")


def _decode(kind: type[Any], value: Any) -> Any:
    if kind is Secret:
        if not isinstance(value, str):
            raise msgspec.ValidationError("Expected `str`")
        return Secret(value)
    raise NotImplementedError(kind)  # what msgspec wants of a hook for a type it does not know


def effective(loaded: Loaded) -> list[tuple[str, str, str]]:
    """Path, value and origin of every setting, secrets masked."""
    tree = msgspec.to_builtins(loaded.settings, enc_hook=str)
    rows = []
    for path, value in leaves(tree):
        dotted = ".".join(path)
        rows.append((dotted, masked(path, value), _origin(loaded, path)))
    return rows


def _origin(loaded: Loaded, path: tuple[str, ...]) -> str:
    """A mapping may have been set as one value."""
    for end in range(len(path), 1, -1):
        if (origin := loaded.origins.get(".".join(path[:end]))) is not None:
            return origin
    return "default"


def masked(path: tuple[str, ...], value: Any) -> str:
    """Secrets and header values are never shown, not even in part; nor is a URL's password, nor a check's path."""
    text = msgspec.json.encode(value).decode() if not isinstance(value, str) else value
    if not value:
        return text or '""'
    if path[-1] in {"api_key", "hmac_key", "key", "tls_key_password"} or "headers" in path:
        return "***"
    if path[:2] == ("health", "checks") and path[-1] == "url":  # whoever knows the path of a hook may call it
        return re.sub(r"(//[^/?#]*)[/?#].+", r"\1/***", text)
    return re.sub(r"([?&](?:sentinel_)?password=)[^&#]*", r"\1***", re.sub(r"//.*@", "//***@", text))
