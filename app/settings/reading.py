"""Reads the file of the configuration, and trusts it no further than a file of somebody else's.

PyYAML takes the last of two values under one name, and writes an alias out as often as it is used: the one hides a
mistake, the other is a bomb. Both are refused here, with the line.
"""

import stat
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from app.settings.draft import ConfigError, leaves
from app.settings.draft import Path as Dotted

LARGEST_BYTES = 1024 * 1024
MOST_VALUES = 50_000
DEEPEST = 64


class Contents(msgspec.Struct, frozen=True):
    """`lines` has for a dotted path where it stands; `digest` is that of the bytes."""

    values: Mapping[str, Any]
    lines: dict[Dotted, int]
    digest: str
    blank: bool
    """Not even a comment: what is being written looks so, too."""


def read(file: Path) -> Contents:
    """Raises ConfigError naming the file and the line."""
    import yaml  # type: ignore[import-untyped] # noqa: PLC0415 - no types; 10 ms of every start that has no file

    data = _bytes(file)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(str(file), f"is not YAML: byte {error.start} is not UTF-8") from None
    try:
        root = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        lines = dict(_lines(root, file)) if root is not None else {}
        values = msgspec.yaml.decode(data)
    except yaml.MarkedYAMLError as error:
        where = error.problem_mark or error.context_mark
        said = " ".join(str(each) for each in (error.problem, error.context) if each)
        raise ConfigError(f"{file}:{where.line + 1}" if where else str(file), f"is not YAML: {said}") from None
    except (yaml.YAMLError, msgspec.DecodeError, ValueError) as error:  # a date that there is not
        raise ConfigError(str(file), f"is not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ConfigError(str(file), "is nested too deeply") from None
    if values is not None and not isinstance(values, Mapping):
        raise ConfigError(str(file), "must hold a mapping of sections")
    return Contents(values or {}, lines, sha256(data).hexdigest(), not text.strip())


def digest_of(file: Path) -> str:
    """Of what the file holds now; empty where it cannot be read."""
    try:
        return sha256(_bytes(file)).hexdigest()
    except ConfigError:
        return ""


def shared_secrets(file: Path, values: Mapping[str, Any]) -> list[str]:
    """The secrets that stand in a file which everybody on this machine may read."""
    try:
        mode = file.stat().st_mode
    except OSError:
        return []
    if not mode & stat.S_IROTH:
        return []
    return [".".join(map(str, path)) for path, value in leaves(values) if _is_secret(path, value)]


def _is_secret(path: Dotted, value: Any) -> bool:
    if not isinstance(value, str) or not value or value.startswith("${"):
        return False
    return (
        path[-1] in {"api_key", "key", "hmac_key", "tls_key_password"}
        or "headers" in path[:-1]
        or "@" in value.partition("://")[2]
    )


def _bytes(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            data = opened.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise ConfigError(str(file), f"cannot be read: {error.strerror}") from None
    if len(data) > LARGEST_BYTES:
        raise ConfigError(str(file), f"is larger than {LARGEST_BYTES // 1024} KiB")
    return data


def _lines(root: Any, file: Path) -> Iterator[tuple[Dotted, int]]:
    """Every name with its line; raises ConfigError for one that is there twice, and for too much of everything."""
    waiting: list[tuple[Dotted, Any]] = [((), root)]
    seen = 0
    while waiting:
        path, node = waiting.pop()
        seen += 1
        if seen > MOST_VALUES or len(path) > DEEPEST:
            raise ConfigError(f"{file}:{node.start_mark.line + 1}", "holds too many values, its aliases written out")
        if node.id == "sequence":
            waiting += [((*path, str(place)), each) for place, each in enumerate(node.value)]
        if node.id != "mapping":
            continue
        first: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in first and name != "<<":
                said = f"is there twice, first in line {first[name]}"
                raise ConfigError(".".join((*path, name)), said, origin=f"{file}:{line}")
            first[name] = line
            yield (*path, name), line
            waiting.append(((*path, name), value))
