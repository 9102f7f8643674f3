"""What the documents say is what the code says."""

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from app.banner import banner
from app.container import Container
from app.domain import upstream_errors
from app.domain.errors import Failure, GatewayError
from app.settings import known, load, opentelemetry
from tests.unit.settings_tree import REQUIRED, settings_of

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
METRICS = (ROOT / "docs" / "metrics.md").read_text()
ERRORS = (ROOT / "docs" / "errors.md").read_text()
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")])
DECISIONS = sorted((ROOT / "docs" / "adr").glob("*.md"))

Row = tuple[str, ...]

EVERYTHING = {"REDIS_URL": "redis://127.0.0.1:1/0", "OPENAI_API_KEY": "k"}
"""What there must be for all metrics to be there."""


def by_name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def rows(text: str, columns: int) -> list[Row]:
    """The cells of every table row with so many columns, heads included."""
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [tuple(cell.strip() for cell in line) for line in lines if len(line) == columns]


def classes(root: type[GatewayError] = GatewayError) -> Iterator[type[GatewayError]]:
    yield root
    for each in root.__subclasses__():
        if each.__module__.startswith("app."):
            yield from classes(each)


def documented_errors() -> list[Row]:
    return [(row[0].strip("`"), *row[1:6]) for row in rows(ERRORS, 7) if row[0].startswith("`")]


def test_the_table_of_errors_is_the_classes() -> None:
    stated = {
        (str(each.word), str(each.status_code), each.type, str(each.code), "yes" if each.fallback else "no")
        for each in classes()
    }

    documented = [(*row[:4], row[5]) for row in documented_errors()]

    assert len(documented) == len(set(documented))
    assert set(documented) == stated


def test_the_table_of_errors_says_what_is_asked_again() -> None:
    limited = upstream_errors.UpstreamRateLimitedError("", provider="", retry_after=1)
    again = {str(each.word) for each in classes() if getattr(each, "retry", False)}
    again |= {str(limited.word)} if limited.retry else set()

    assert {row[0] for row in documented_errors() if row[4] == "yes"} == again


def test_words_without_a_class_are_called_reserved() -> None:
    (sentence,) = re.findall(r"Reserved for policies to come.*?\.", ERRORS, re.DOTALL)

    reserved = set(re.findall(r"`(\w+)`", sentence))

    assert reserved == set(map(str, Failure)) - {str(each.word) for each in classes()}


def test_the_readme_lists_every_setting_with_its_default() -> None:
    listed = {row[0].strip("`"): row[1].strip("`") for row in rows(README, 3) if _is_setting(row[0])}

    assert listed == dict(settings_of("NAME"))


def test_the_readme_names_every_variable_that_is_read() -> None:
    variables = {*known.VARIABLES, *known.PATHS, known.REQUEST_TIMEOUT, f"<NAME>{known.ROW_TIMEOUT}"}
    variables |= set(opentelemetry.VARIABLES)
    variables |= {"REDIS_HOST", "REDIS_PORT", "REDIS_DB", "REDIS_PASSWORD", "SITE_URL", "SITE_NAME"}
    variables |= {*chain.from_iterable(known.STATSD), known.DOGSTATSD_URL}

    assert {each for each in variables if f"`{each}`" not in README} == set()


def test_the_readme_names_every_well_known_provider() -> None:
    names = {each.upper() for each in known.BASE_URLS if each not in known.PREFIX_ONLY}

    assert {each for each in names if f"`{each}`" not in README and f"{each}_API_KEY" not in README} == set()


def test_the_list_of_metrics_is_the_metrics_there_are() -> None:
    container = Container(settings=load(None, EVERYTHING).settings)
    container.health.service()
    exposition, _ = container.monitoring.metrics().render("")
    families = set(re.findall(r"^# TYPE ((?:llm|http|model|system)_\w+)", exposition.decode(), re.MULTILINE))

    listed = re.findall(r"^\| `(\w+)`", METRICS, re.MULTILINE)

    assert len(listed) == len(set(listed))
    assert set(listed) == families


def test_the_readme_has_the_banners_line() -> None:
    (line,) = [each for each in banner(load(None, {}).settings, notices=[]).splitlines() if " try " in each]

    assert line.split(maxsplit=1)[1] in README


def test_the_python_of_the_readme_compiles() -> None:
    for example in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        compile(example, "README.md", "exec")


@pytest.mark.parametrize("decision", DECISIONS, ids=by_name)
def test_a_decision_has_its_four_headings(decision: Path) -> None:
    headings = re.findall(r"^## (.+)$", decision.read_text(), re.MULTILINE)

    assert headings == ["Context", "Decision", "Consequences", "Alternatives"]


def test_decisions_are_numbered_in_order() -> None:
    titles = [each.read_text().partition(".")[0] for each in DECISIONS]

    assert titles == [f"# {number}" for number in range(1, len(DECISIONS) + 1)]
    assert [int(each.name[:4]) for each in DECISIONS] == list(range(1, len(DECISIONS) + 1))


@pytest.mark.parametrize("document", DOCUMENTS, ids=by_name)
def test_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text())

    relative = [each for each in targets if "://" not in each]

    assert [each for each in relative if not (document.parent / each).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=by_name)
def test_files_that_are_named_are_there(document: Path) -> None:
    named = re.findall(r"`((?:app|config|docker|docs|requirements|scripts|tests)/[\w./-]+)`", document.read_text())

    assert [each for each in named if not (ROOT / each).exists()] == []


def test_the_settings_helper_knows_what_is_required() -> None:
    required = {path for path, default in settings_of("NAME") if default == REQUIRED}

    assert required == {"keys.NAME.key", "routes.NAME"}


def _is_setting(cell: str) -> bool:
    return re.fullmatch(r"`[a-z]+\.[\w.]+`", cell) is not None
