"""The results as Markdown."""

import re
import statistics

from benchmarks.gateways import ROOT
from benchmarks.lives import LIFE, WORKERS
from benchmarks.loads import LOADS, Load
from benchmarks.results import Results
from benchmarks.targets import TARGETS

README = ROOT / "README.md"
NOTES = ROOT / "benchmarks" / "NOTES.md"
BEGIN, END = "<!-- benchmark -->", "<!-- /benchmark -->"
DASH = "-"

Columns = tuple[tuple[str, str, float], ...]
"""Field, heading and factor; a field after `+` is what the gateway adds to the direct way."""

JSON_COLUMNS: Columns = (
    ("rps", "requests/s", 1),
    ("p50", "p50 ms", 1e-3),
    ("p99", "p99 ms", 1e-3),
    ("cpu", "CPU µs/request", 1),
)
TIMED_COLUMNS: Columns = (
    ("rps", "requests/s", 1),
    ("+p50", "added p50 ms", 1e-3),
    ("+p99", "added p99 ms", 1e-3),
    *JSON_COLUMNS[1:],
)
STREAM_COLUMNS: Columns = (
    ("events", "events/s", 1),
    ("+first50", "first event, added p50 ms", 1e-3),
    ("first50", "p50 ms", 1e-3),
    ("first99", "p99 ms", 1e-3),
    ("cpu_event", "CPU µs/event", 1),
)
LIFE_COLUMNS: Columns = (
    ("cold", "cold start s", 1),
    ("idle", "MiB at rest", 1),
    ("streamed", "MiB after 500 streams", 1),
    ("slope", "kB for 1,000 requests more", 1),
)
SPREAD = {"rps", "events"}

REDIS_ROW = "the same, answers in Redis"
IN_REDIS = {"signalbox": "signalbox-redis", "litellm": "litellm-redis"}
SHORT = (
    ("requests/s on one core", "json-1k", "rps", ""),
    ("CPU for a request", "json-1k", "cpu", " µs"),
    ("added at 1,000 requests/s, median", "rate-1000", "+p50", " µs"),
    ("answers in the process, requests/s", "hit-1k", "rps", ""),
    (REDIS_ROW, "hit-1k", "rps", ""),
    ("CPU for an event, 500 streams", "stream-paced", "cpu_event", " µs"),
    ("memory at rest", LIFE, "idle", " MiB"),
    ("cold start", LIFE, "cold", " s"),
)
LIVES = Load(LIFE, "Cold start and memory, each gateway alone")


def number(value: float | None) -> str:
    """Three digits that say something."""
    if value is None:
        return DASH
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def plainly(text: str) -> str:
    """Foreign words without what breaks a table, or names a machine's paths and hosts."""
    text = re.sub(r"https?://\S+|\b(?:[\w-]+\.)+(?:com|io|net|org)\b\S*", "(address)", " ".join(text.split()))
    return re.sub(r"(?<![\w.])/(?:[\w.@+-]+/)+\S*", "(path)", text).replace("|", "/")


class Footnotes:
    """Numbered remarks under a table; the same remark has one number."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def mark(self, text: str) -> str:
        text = plainly(text)
        if text not in self._texts:
            self._texts.append(text)
        return f" [{self._texts.index(text) + 1}]"

    def __str__(self) -> str:
        return "".join(f"\n[{place}] {text}  " for place, text in enumerate(self._texts, 1)) + (
            "\n" if self._texts else ""
        )


def targets(results: Results) -> str:
    """Each target for which there is a figure, and how far it is."""
    notes, rows = Footnotes(), []
    for each in TARGETS:
        value = each.figure(results)
        errors = [text for load, gateway in each.of for text in results.errors(load, gateway)]
        if value is None:
            continue
        figure = f"**{number(value)}{each.unit}**" + "".join(notes.mark(f"not valid: {text}") for text in errors)
        goals = [(each.must, "must"), (each.stretch, "stretch")]
        verdicts = [
            f"{each.sign} {goal:g}{each.unit}, " + ("not valid" if errors else each.verdict(value, goal))
            for goal, _ in goals
        ]
        rows.append([each.title, figure, *verdicts])
    return table(["", "measured", "must", "stretch"], rows) + str(notes)


def title(results: Results, gateway: str) -> str:
    return results.gateways[gateway]["title"]


def gateway_table(results: Results, load: str, columns: Columns, *, takers: list[str]) -> str:
    """One row for every gateway that takes the load; dashes have their reason below."""
    notes, rows = Footnotes(), []
    for gateway in takers:
        name = title(results, gateway)
        for note in results.notes:
            if (note.load, note.gateway) == (load, gateway):
                name += notes.mark(("ERROR: " if note.error else "") + note.text)
        rows.append([name, *(_cell(results, load, gateway, column) for column in columns)])
    return table(["", *(head for _, head, _ in columns)], rows) + str(notes)


def _cell(results: Results, load: str, gateway: str, column: tuple[str, str, float]) -> str:
    field, _, scale = column
    if field.startswith("+"):
        added = None if gateway == "direct" else results.difference(load, field[1:], gateway, "direct")
        return number(None if added is None else added * scale)
    values = [each * scale for each in results.values(load, gateway, field)]
    spread = f" ({number(min(values))} to {number(max(values))})" if field in SPREAD and len(values) > 1 else ""
    return number(statistics.median(values) if values else None) + spread


def columns_of(load: Load) -> Columns:
    """Those that say what the load is there to find out."""
    if load.name == LIFE:
        return LIFE_COLUMNS
    if load.stream:
        return STREAM_COLUMNS
    return TIMED_COLUMNS if load.rate or load.model != "mock-gpt" else JSON_COLUMNS


def takers(results: Results, load: str) -> list[str]:
    """Those with a figure or a remark for this load, in the order they were started."""
    noted = {note.gateway for note in results.notes if note.load == load}
    measured = {where for each in results.rounds for where in each}
    return [name for name in results.gateways if name in noted or f"{load} {name}" in measured]


def loads(results: Results) -> str:
    """A table for every load."""
    taken = [(load, takers(results, load.name)) for load in (*LOADS, LIVES)]
    parts = [
        f"### {load.title}\n\n{gateway_table(results, load.name, columns_of(load), takers=names)}"
        for load, names in taken
        if names
    ]
    one, two = (results.median(WORKERS, "signalbox", field) for field in ("one", "two"))
    if one and two:
        head = ["CPU µs/request", "one worker on its core", "two workers on all cores"]
        parts.append(f"### A second worker\n\n{table(head, [['Signalbox', number(one), number(two)]])}")
    return "\n".join(parts)


def gateways(results: Results) -> str:
    """Who took part, in which version, with what switched on."""
    rows = [
        [
            row["title"],
            row.get("version", ""),
            f"not measured: {plainly(row['missing'])}" if "missing" in row else row["on"],
        ]
        for row in results.gateways.values()
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in [["", "version", "switched on"], ["---"] * 3, *rows])


def setup(results: Results) -> str:
    return "".join(f"- {name}: {value}\n" for name, value in results.setup.items())


def document(results: Results) -> str:
    """The whole of `RESULTS.md`."""
    return (
        "# Results\n\n"
        "Written by `make bench-peers`; [README.md](README.md) says how it is measured. Medians of the rounds, lowest\n"
        "and highest in brackets. Ratios and differences are taken within a round; they and CPU figures are steadier\n"
        "than rates.\n\n"
        f"## Setup\n\n{setup(results)}\n## Targets\n\n{targets(results)}\n"
        f"{NOTES.read_text()}\n## Gateways\n\n{gateways(results)}\n## Loads\n\n{loads(results)}"
    )


def ratios(results: Results) -> str:
    """The short table for the project's README: a row for each measure, a column for each gateway."""
    names = [name for name in results.gateways if name != "direct" and results.values("json-1k", name, "rps")]
    rows = []
    for text, load, field, unit in SHORT:
        values = [_short(results, load, field, IN_REDIS.get(name, "") if text == REDIS_ROW else name) for name in names]
        cells = [DASH if value is None else f"{number(value)}{unit}" for value in values]
        if (load, field) == ("json-1k", "rps"):
            cells = [f"{cell}{_against(results, name)}" for name, cell in zip(names, cells, strict=True)]
        if any(value is not None for value in values):
            rows.append([text, *cells])
    return table(["", *(title(results, name) for name in names)], rows)


def _short(results: Results, load: str, field: str, gateway: str) -> float | None:
    if field.startswith("+"):
        return results.difference(load, field[1:], gateway, "direct")
    return results.median(load, gateway, field)


def _against(results: Results, peer: str) -> str:
    ratio = None if peer == "signalbox" else results.ratio("json-1k", "rps", "signalbox", peer)
    return f" (Signalbox {number(ratio)}x)" if ratio else ""


def put_into_readme(results: Results, readme: str) -> str:
    """The README with the short table between its two markers; raises ValueError where they are missing."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"README.md has no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n{ratios(results)}{END}{after}"
