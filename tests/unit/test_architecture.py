"""Rules about the tree itself that no linter of ours keeps."""

import ast
import io
import re
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.tree import tracked

ROOT = Path(__file__).parents[2]
APP = sorted((ROOT / "app").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
BENCHMARKS = sorted(each for kind in ("*.py", "*.c", "*.h") for each in (ROOT / "benchmarks").rglob(kind))
SCRIPTS = sorted((ROOT / "scripts").rglob("*.py"))
CODE = [*APP, *SCRIPTS, *(each for each in BENCHMARKS if each.suffix == ".py")]
LONGEST_FILE = 300
LONGEST_FUNCTION = 40

# In pieces, so that this file has none of them.
REGISTRIES = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("yarnpkg", "com"),
        ("crates", "io"),
        ("proxy", "golang", "org"),
    )
]
MACHINE_PATHS = [f"/{name}{'/'}" for name in ("work", "root", "home")]

BARE_NOQA = re.compile(r"\bnoqa\b(?!: [A-Z]+[0-9]+(?:, [A-Z]+[0-9]+)* - \S)", re.IGNORECASE)
BARE_IGNORE = re.compile(r"#\s*type:\s*ignore(?!\[[a-z, -]+\] # \S)")
BARE_FMT = re.compile(r"#\s*fmt:(?!\s*skip # \S)")


def by_name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(source: str) -> Iterator[tuple[str, int]]:
    """Every function and its lines, from `def` to its last one."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


def comments(source: str) -> list[str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [token.string for token in tokens if token.type == tokenize.COMMENT]


def test_no_module_is_longer_than_it_may_be() -> None:
    lengths = {by_name(each): len(each.read_text().splitlines()) for each in [*APP, *TESTS, *BENCHMARKS, *SCRIPTS]}

    assert lengths
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


def test_no_function_is_longer_than_it_may_be() -> None:
    found = {(by_name(each), name): length for each in CODE for name, length in functions(each.read_text())}

    assert found
    assert {where: length for where, length in found.items() if length > LONGEST_FUNCTION} == {}


def test_the_length_of_a_function_counts_its_signature_and_its_docstring() -> None:
    source = '@decorated\nasync def one(\n    a: int,\n) -> None:\n    """Says.\n\n    More.\n    """\n\n\nx = 1\n'

    assert list(functions(source)) == [("one", 7)]


@pytest.mark.parametrize("package", [each for each in CODE if each.name == "__init__.py"], ids=by_name)
def test_a_package_says_what_it_is(package: Path) -> None:
    assert ast.get_docstring(ast.parse(package.read_text()))


def test_no_file_names_a_package_registry_or_a_place_on_somebodys_machine() -> None:
    forbidden = [each.encode() for each in [*REGISTRIES, *MACHINE_PATHS]]
    files = [ROOT / name for name in tracked()]

    found = [(by_name(each), word) for each in files for word in forbidden if word in each.read_bytes()]

    assert Path(__file__) in files
    assert found == []


def test_no_import_is_exempt_from_the_layers() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]

    assert contracts
    assert [each["name"] for each in contracts if each.get("ignore_imports")] == []


@pytest.mark.parametrize(
    "bare", ["# noqa", "# NOQA", "# noqa - why", "# ruff: noqa", "# noqa:", "# noqa: because", "# noqa: S104"]
)
def test_a_bare_noqa_is_recognised(bare: str) -> None:
    assert BARE_NOQA.search(bare)
    assert not BARE_NOQA.search("# noqa: S104 - not bound")


@pytest.mark.parametrize("bare", ["# type: ignore", "#type:ignore # why", "# type: ignore[override]"])
def test_a_bare_type_ignore_is_recognised(bare: str) -> None:
    assert BARE_IGNORE.search(bare)
    assert not BARE_IGNORE.search("# type: ignore[override] # uvicorn's")


@pytest.mark.parametrize("bare", ["# fmt: skip", "# fmt: off", "#fmt:skip"])
def test_a_bare_fmt_is_recognised(bare: str) -> None:
    assert BARE_FMT.search(bare)
    assert not BARE_FMT.search("# fmt: skip # a row of a table")


def test_whatever_is_exempt_from_a_rule_names_it_and_says_why() -> None:
    found = [(by_name(each), comment) for each in [*CODE, *TESTS] for comment in comments(each.read_text())]

    assert found
    bare = (BARE_NOQA, BARE_IGNORE, BARE_FMT)
    assert [each for each in found if any(pattern.search(each[1]) for pattern in bare)] == []
