"""A tree of values under construction that remembers where each one came from."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Path = tuple[str, ...]


class ConfigError(Exception):
    """A setting that cannot be: its dotted path (or file, or variable) and what is wrong with it."""

    others: "Sequence[ConfigError]" = ()
    """More that were found on the way."""
    at: Path = ()
    """Where it is in the tree, if that is known."""

    def __init__(self, path: str, message: str, *, origin: str = "") -> None:
        super().__init__(f"{path}: {message}" + (f" (from {origin})" if origin else ""))
        self.path = path
        self.message = message
        self.origin = origin

    def placed(self, draft: "Draft") -> "ConfigError":
        """The same with where it came from, as far as the path tells."""
        if self.origin:
            return self
        known = {".".join(each): each for each in draft.origins}
        pieces = self.path.split(".")
        for end in range(len(pieces), 0, -1):
            if (path := known.get(".".join(pieces[:end]))) is not None:
                placed = ConfigError(self.path, self.message, origin=draft.origin_of(path))
                placed.others = self.others
                return placed
        return self


class Draft:
    def __init__(self) -> None:
        self.tree: dict[str, Any] = {}
        self.origins: dict[Path, str] = {}
        self.notices: list[str] = []
        self.lines: dict[Path, int] = {}
        """Where in the file a path stands; what came from elsewhere since has none."""

    def put(self, path: Path, value: Any, origin: str) -> None:
        """Set one value; what stood there before is forgotten."""
        if not _is_text(path, value):  # the environment may have any bytes
            raise ConfigError(ascii(".".join(path)), "has bytes in it that are not UTF-8", origin=ascii(origin))
        *parents, leaf = path
        section = self.tree
        for depth, parent in enumerate(parents):
            section = section.setdefault(parent, {})
            if not isinstance(section, dict):
                raise ConfigError(".".join(path[: depth + 1]), "is a value and has no settings below it", origin=origin)
        section[leaf] = value
        self.origins[path] = origin
        if path in self.lines and origin.startswith("environment "):
            del self.lines[path]

    def drop(self, path: Path) -> bool:
        """Forget what stands there; whether anything did."""
        section: Any = self.tree
        for parent in path[:-1]:
            section = section.get(parent) if isinstance(section, dict) else None
        return isinstance(section, dict) and section.pop(path[-1], self) is not self

    def merge(self, values: Mapping[str, Any], origin: str, *, under: Path = ()) -> None:
        for key, value in values.items():
            path = (*under, str(key))
            if isinstance(value, Mapping) and value:
                self.merge(value, origin, under=path)
            elif value is not None or len(path) > 1:
                self.put(path, {} if value is None and self._is_row(path) else value, origin)

    def notice(self, text: str) -> None:
        if text not in self.notices:
            self.notices.append(text)

    def rows(self, section: str) -> dict[str, Any]:
        rows = self.tree.setdefault(section, {})
        if not isinstance(rows, dict):
            raise ConfigError(section, "must be a mapping", origin=self.origins.get((section,), ""))
        return rows

    def row(self, section: str, written: str) -> str:
        """The name of the row that `written` means: variables know neither case nor punctuation."""
        return next((name for name in self.rows(section) if folded(name) == folded(written)), "")

    def origin_of(self, path: Path) -> str:
        """Where the value at `path`, or the nearest one around it, came from; of a file the line too."""
        line = next((self.lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in self.lines), 0)
        while path:
            if path in self.origins:
                origin = self.origins[path]
                return f"{origin}:{line}" if line and not origin.startswith("environment ") else origin
            path = path[:-1]
        return "default"

    @staticmethod
    def _is_row(path: Path) -> bool:
        return (len(path) == 2 and path[0] in {"providers", "keys"}) or path[:-1] == ("health", "checks")


def _is_text(path: Path, value: Any) -> bool:
    try:
        "".join([*path, value if isinstance(value, str) else ""]).encode()
    except UnicodeEncodeError:
        return False
    return True


def folded(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name).upper()


def leaves(tree: Mapping[str, Any], *, under: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value below a mapping with its path, in order."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, under=(*under, key))
        else:
            yield (*under, key), value
