"""Writes docs/faults.md: every fault that is tested, from the names and docstrings of tests/faults."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests" / "faults"
DOCUMENT = ROOT / "docs" / "faults.md"

SECTIONS = {
    "H": "HTTP in front",
    "B": "Bodies",
    "A": "Keys and tenants",
    "U": "Providers",
    "S": "Streams and those who read them",
    "C": "Cache",
    "R": "Redis",
    "M": "Metrics and logs",
    "P": "Configuration and life of the process",
    "X": "Supply chain",
}
HEAD = """# Faults

What happens to a gateway in production, and what this one does then. Every row is a test in `tests/faults` whose name
carries the id; `make catalogue` writes this page from them. `make test` runs most of them, `make faults` those that
take longer (marked *slow* here).
"""
TAIL = """
## What is not here

The catalogue these ids come from has more rows. They are about what Signalbox does not have yet, so nothing can go
wrong with it: an admin API and sessions (A-09, A-13, P-06), keys with limits of their own (A-14), a database and a
ledger of usage (A-17, L, M-13), budgets and limits on use (Q, R-14), alerts sent by itself (W), a dashboard (M-10,
M-11), several worker processes (P-09 to P-11). There is no semantic cache, and none is planned (C-10). P-14, memory
over hours, is what `make soak` and `make soak-faults` look at.
"""

_named = re.compile(r"test_([A-Z])_(\d\d)_\w+").fullmatch


class CatalogueError(Exception):
    """A test whose name or docstring says too little."""


class Row(NamedTuple):
    section: str
    number: str
    fault: str
    happens: str
    seen: str
    slow: bool


def rows_of(source: str, *, where: str) -> Iterator[Row]:
    """The rows of one file; raises CatalogueError for a test without an id, or without the three parts.

    A docstring is what is done to the gateway, then a paragraph beginning with `Happens:` and one with `Seen:`.
    """
    tree = ast.parse(source)
    all_slow = any(isinstance(each, ast.Assign) and "slow" in ast.unparse(each.value) for each in _marks(tree))
    for each in ast.walk(tree):
        if not isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) or not each.name.startswith("test_"):
            continue
        if (written := _named(each.name)) is None or written[1] not in SECTIONS:
            raise CatalogueError(f"{where}: {each.name} carries no id of the catalogue")
        parts = re.split(r"\s*^\s*(Happens|Seen):\s*", ast.get_docstring(each) or "", flags=re.MULTILINE)
        if len(parts) != 5 or parts[1] != "Happens" or not all(part.strip() for part in parts):
            raise CatalogueError(f"{where}: {each.name} needs a docstring with `Happens:` and `Seen:`")
        fault, happens, seen = (" ".join(part.split()) for part in parts[::2])
        slow = all_slow or any("slow" in ast.unparse(mark) for mark in each.decorator_list)
        yield Row(written[1], written[2], fault, happens, seen, slow)


def document() -> str:
    """The whole page."""
    rows = [
        row
        for file in sorted(TESTS.glob("test_*.py"))
        for row in rows_of(file.read_text(encoding="utf-8"), where=file.name)
    ]
    text = HEAD
    for letter, title in SECTIONS.items():
        found = sorted((row for row in rows if row.section == letter), key=lambda row: row.number)
        if found:
            text += f"\n## {title}\n\n| id | fault | what happens | what is seen |\n|---|---|---|---|\n"
            text += "".join(_line(row) for row in found)
    return text + TAIL


def _line(row: Row) -> str:
    cells = (f"{row.section}-{row.number}{' *slow*' if row.slow else ''}", row.fault, row.happens, row.seen)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _marks(tree: ast.Module) -> Iterator[ast.stmt]:
    return (each for each in tree.body if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == "pytestmark")


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
