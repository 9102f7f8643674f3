"""The lock files: what is installed, from which files."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))

_pinned = re.compile(r"([A-Za-z0-9._-]+)==([^\s;]+)(?: ; (.+))?").fullmatch
_hash = re.compile(r"--hash=sha256:([0-9a-f]{64})").fullmatch


class Pin(NamedTuple):
    """One package; `marker` says where it is installed at all, empty: everywhere. Hashes are SHA-256, in hex."""

    name: str
    version: str
    marker: str
    hashes: list[str]


def pins_of(lock: Path) -> Iterator[Pin]:
    """Raises ValueError for a line that is no exact version with hashes."""
    text = re.sub(r"^#.*\n", "", lock.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for line in text.replace("\\\n", " ").splitlines():
        requirement, *rest = re.split(r"\s+(?=--hash=)", line.strip())
        found, hashes = _pinned(requirement), [_hash(each.strip()) for each in rest]
        if found is None or not hashes or None in hashes:
            raise ValueError(f"{lock.name}: {line[:80]!r} is no exact version with hashes")
        yield Pin(found[1], found[2], found[3] or "", [each[1] for each in hashes if each])
