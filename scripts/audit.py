"""Whether a lock file pins a version that is known to be bad, by requirements/advisories.toml: no network is asked."""

import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from scripts.locks import LOCKS, ROOT, pins_of

ADVISORIES = ROOT / "requirements" / "advisories.toml"


class Advisory(NamedTuple):
    """`affected` are ranges, each as in `>=5,<5.29.5`."""

    id: str
    package: str
    affected: list[SpecifierSet]
    why: str


def advisories(file: Path = ADVISORIES) -> list[Advisory]:
    rows = tomllib.loads(file.read_text(encoding="utf-8"))["advisory"]
    return [
        Advisory(row["id"], row["package"], [SpecifierSet(each) for each in row["affected"]], row["why"])
        for row in rows
    ]


def found_in(locks: Iterable[Path], known: Iterable[Advisory]) -> Iterator[str]:
    """A sentence for every bad pin."""
    known = list(known)
    for lock in locks:
        for pin in pins_of(lock):
            for each in known:
                if canonicalize_name(each.package) == canonicalize_name(pin.name) and any(
                    affected.contains(pin.version, prereleases=True) for affected in each.affected
                ):
                    yield f"{lock.name}: {pin.name} {pin.version}: {each.id}: {each.why}"


def main(locks: Iterable[Path]) -> int:
    bad = list(found_in(locks, advisories()))
    for sentence in bad:
        print(sentence, file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main([Path(each) for each in sys.argv[1:]] or LOCKS))
