import msgspec
import pytest

from benchmarks import report
from benchmarks.results import Results
from benchmarks.targets import TARGETS


@pytest.fixture
def results() -> Results:
    made = Results(
        setup={"system": "Linux"},
        gateways={
            "direct": {"title": "direct", "on": ""},
            "signalbox": {"title": "Signalbox", "version": "1", "on": "all"},
            "litellm": {"title": "LiteLLM", "version": "2", "on": "some"},
            "nginx": {"title": "nginx", "on": "", "missing": "no nginx on this machine"},
        },
    )
    for number in range(2):
        made.put(number, "json-1k", "signalbox", {"rps": 20_000 + number, "cpu": 50, "p50": 3_000, "p99": 5_000})
        made.put(number, "json-1k", "litellm", {"rps": 100, "cpu": 6_000})
        made.put(number, "rate-1000", "direct", {"p50": 50, "p99": 60})
        made.put(number, "rate-1000", "signalbox", {"p50": 250, "p99": 300})
    return made


def test_a_target_says_by_how_much_it_is_met_or_missed(results: Results) -> None:
    said = report.targets(results)

    assert "JSON 1 KB, requests/s against LiteLLM | **200x** | ≥ 80x, met by 150 % | ≥ 150x, met by 33 %" in said
    assert "JSON 1 KB, CPU for a request | **50.0 µs** | ≤ 60 µs, met by 17 % | ≤ 42 µs, missed by 19 %" in said
    assert "added to the median | **200 µs** | ≤ 150 µs, missed by 33 %" in said


def test_a_target_without_figures_is_left_out(results: Results) -> None:
    assert "TensorZero" not in report.targets(results)


def test_a_target_with_errors_is_not_valid(results: Results) -> None:
    results.note("json-1k", "litellm", "7 refused", error=True)

    said = report.targets(results)

    assert "**200x** [1] | ≥ 80x, not valid |" in said
    assert "[1] not valid: 7 refused" in said


def test_a_load_has_a_row_for_every_gateway_with_its_remarks(results: Results) -> None:
    results.note("rate-1000", "litellm", "130 answers at 1,000 questions a second", over=True)

    said = report.loads(results)

    assert "| Signalbox | 20,000 (20,000 to 20,001) | 3.00 | 5.00 | 50.0 |" in said
    assert "| LiteLLM [1] | - | - | - | - |" in said
    assert "[1] 130 answers at 1,000 questions a second" in said


def test_who_could_not_take_part_is_named_with_the_reason(results: Results) -> None:
    assert "| nginx |  | not measured: no nginx on this machine |" in report.document(results)


def test_foreign_words_name_no_places() -> None:
    words = "see https://docs.example/x or a.example.org/y:\n  no /opt/some/file.txt | 3 requests/s, 1/2"

    assert report.plainly(words) == "see (address) or (address) no (path) / 3 requests/s, 1/2"


def test_the_short_table_replaces_what_stands_between_the_marks(results: Results) -> None:
    readme = f"before\n{report.BEGIN}\nformer\n{report.END}\nafter\n"

    said = report.put_into_readme(results, readme)

    assert said.startswith(f"before\n{report.BEGIN}\n|")
    assert said.endswith(f"|\n{report.END}\nafter\n")
    assert "former" not in said
    assert "100 (Signalbox 200x)" in said
    assert report.put_into_readme(results, said) == said


def test_a_readme_without_marks_is_refused(results: Results) -> None:
    with pytest.raises(ValueError, match="README"):
        report.put_into_readme(results, "nothing")


def test_results_are_the_same_after_they_were_saved(results: Results) -> None:
    results.note("json-1k", "litellm", "7 refused", error=True)

    assert msgspec.json.decode(msgspec.json.encode(results), type=Results) == results


def test_what_must_be_is_never_more_than_what_may_be() -> None:
    for each in TARGETS:
        assert (each.stretch > each.must) == each.more, each.title
