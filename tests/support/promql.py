"""What the shipped rules and dashboards ask Prometheus, and what those questions are made of."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import promql_parser
from promql_parser import AggregateExpr, BinaryExpr, Call, Expr, ParenExpr, VectorSelector

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "docker" / "prometheus"
DASHBOARDS = ROOT / "docker" / "grafana" / "dashboards"

COMPARISONS = frozenset({"==", "!=", ">", "<", ">=", "<="})
SET_OPERATORS = frozenset({"and", "or", "unless"})
LABEL_VALUES = re.compile(r"label_values\((.+), *(\w+)\)").fullmatch

PROMETHEUS_OWN = frozenset({"up", "ALERTS"})
"""Written by Prometheus itself, whatever it scrapes."""


class Rule(NamedTuple):
    area: str
    """The rule file's name without its suffix; its runbook has the same."""
    group: str
    fields: dict[str, Any]

    @property
    def alert(self) -> str:
        return self.fields.get("alert", "")

    @property
    def expr(self) -> str:
        return self.fields["expr"]


class Question(NamedTuple):
    where: str
    expr: str


def rules() -> list[Rule]:
    return [
        Rule(file.stem, group["name"], rule)
        for file in sorted((PROMETHEUS / "rules").glob("*.yaml"))
        for group in msgspec.yaml.decode(file.read_bytes())["groups"]
        for rule in group["rules"]
    ]


def alerts() -> list[Rule]:
    return [rule for rule in rules() if rule.alert]


def recorded() -> set[str]:
    return {rule.fields["record"] for rule in rules() if not rule.alert}


def dashboards() -> dict[str, dict[str, Any]]:
    return {file.name: json.loads(file.read_bytes()) for file in sorted(DASHBOARDS.glob("*.json"))}


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All that show something, out of their rows."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels") or []
        else:
            yield panel


def of_dashboards() -> list[Question]:
    """Every query of a panel or a variable, with what Grafana puts in for its own variables."""
    found = []
    for name, dashboard in dashboards().items():
        for panel in panels(dashboard):
            found += [Question(f"{name}: {panel['title']}", each["expr"]) for each in panel["targets"]]
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query" and (asked := LABEL_VALUES(variable["query"])):
                found.append(Question(f"{name}: ${variable['name']}", asked[1]))
    return [Question(where, _as_grafana(expr)) for where, expr in found]


def of_rules() -> list[Question]:
    return [Question(f"{rule.area}: {rule.alert or rule.fields['record']}", rule.expr) for rule in rules()]


def questions() -> list[Question]:
    return of_rules() + of_dashboards()


def shares_of_errors() -> list[Question]:
    """Rates of attempts, or of a model's calls, that failed; not those that are told by word."""
    return [
        each
        for each in questions()
        if re.search(r"(provider|inference)_errors_total", each.expr) and re.search(r"[^/]/ ", each.expr)
    ]


def metrics_of(expr: str) -> set[str]:
    """The names of all metrics `expr` reads, as they are stored."""
    names: set[str] = set()

    def see(node: Expr) -> None:
        if isinstance(node, VectorSelector) and node.name:
            names.add(node.name)

    promql_parser.walk(promql_parser.parse(expr), see)
    return names


def operands(expr: str) -> list[str]:
    """What must have values for `expr` to mean anything: itself, or where it is a condition, what it compares.

    The sides of `and`, `or` and `unless` are taken by themselves, thresholds fall away, `absent(x)` becomes `x`,
    nothing is asked about yesterday, and a failure nobody can bring about stands for all of them.
    """
    asked = [re.sub(r" offset \w+", "", each) for each in _operands(promql_parser.parse(expr))]
    return [each.replace('error_type="internal"', 'error_type=~".+"') for each in asked]


def _operands(node: Expr) -> Iterator[str]:
    match node:
        case ParenExpr():
            yield from _operands(node.expr)
        case BinaryExpr() if str(node.op) in COMPARISONS | SET_OPERATORS:
            yield from _operands(node.lhs)
            yield from _operands(node.rhs)
        case Call() if node.func.name == "absent":
            yield from _operands(node.args[0])
        case Call() if node.func.name == "label_replace":  # says where a condition came from
            yield from _operands(node.args[0])
        case promql_parser.NumberLiteral():
            return
        case _:
            yield node.prettify()


def _as_grafana(expr: str) -> str:
    expr = expr.replace("$__rate_interval", "5m").replace("$__range", "1h")
    return re.sub(r'=~"\$\w+"', '=~".*"', expr)


TARGET_LABELS = frozenset({"job", "instance", "le"})
LIBRARY = {
    "process_cpu_seconds_total": frozenset[str](),
    "process_resident_memory_bytes": frozenset[str](),
    "process_open_fds": frozenset[str](),
    "process_max_fds": frozenset[str](),
    "process_start_time_seconds": frozenset[str](),
    "process_threads": frozenset[str](),
    "python_gc_collections_total": frozenset({"generation"}),
}
"""Of what is told of the process beside the listed ones, what rules and dashboards read."""


def documented() -> dict[str, frozenset[str]]:
    """The metrics the documents promise, and their labels; another test holds them against what is told."""
    text = (ROOT / "docs" / "metrics.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \| ([\w, ]*)\|", text, re.MULTILINE)
    return {name: frozenset(re.findall(r"\w+", labels)) for name, labels in listed} | LIBRARY


def family_of(metric: str) -> str:
    """`metric` without what a histogram adds to it."""
    return re.sub(r"_(bucket|count|sum)$", "", metric)


def matched(expr: str) -> list[tuple[str, str]]:
    """Labels and the values `expr` matches or rules out, each alternative of an expression by itself."""
    found: list[tuple[str, str]] = []

    def see(node: Expr) -> None:
        if isinstance(node, VectorSelector):
            for matcher in node.matchers.matchers:
                found.extend((matcher.name, value) for value in matcher.value.split("|"))

    promql_parser.walk(promql_parser.parse(expr), see)
    return found


def labels_of(expr: str) -> set[str]:
    """The labels `expr` matches, groups or joins by."""
    names: set[str] = set()

    def see(node: Expr) -> None:
        if isinstance(node, VectorSelector):
            names.update(matcher.name for matcher in node.matchers.matchers)
        elif isinstance(node, AggregateExpr) and node.modifier:
            names.update(node.modifier.labels)
        elif isinstance(node, BinaryExpr) and node.modifier and node.modifier.matching:
            names.update(node.modifier.matching.labels)

    promql_parser.walk(promql_parser.parse(expr), see)
    return names
