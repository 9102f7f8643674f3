"""The few kinds of panels, and what all dashboards have in common."""

from collections.abc import Iterable
from typing import NamedTuple

from grafana_foundation_sdk.builders import common, prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.builders import dashboard as grafana
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as shared
from grafana_foundation_sdk.models import dashboard as models

from scripts.dashboards.queries import Query

DATASOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "signalbox"
DOWN_AND_UP = (("0", "down", "red"), ("1", "up", "green"))
BREAKER = (("0", "closed", "green"), ("1", "half-open", "orange"), ("2", "open", "red"))
HEALTH = (("0", "unhealthy", "red"), ("0.5", "degraded", "orange"), ("1", "healthy", "green"))

Panel = Builder[models.Panel]
Words = tuple[tuple[str, str, str], ...]
"""Values, how they are called, and their colours."""


def graph(title: str, unit: str, queries: Iterable[Query], description: str, *, stacked: bool = False) -> Panel:
    """Values over time, half a row wide, with a table of last and greatest values."""
    legend = common.VizLegendOptions().display_mode(shared.LegendDisplayMode.TABLE).show_legend(show_legend=True)
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(unit)
        .height(8)
        .span(12)
        .min(0)
        .fill_opacity(20 if stacked else 8)
        .show_points(shared.VisibilityMode.NEVER)
        .legend(legend.placement(shared.LegendPlacement.BOTTOM).calcs(["lastNotNull", "max"]))
        .tooltip(common.VizTooltipOptions().mode(shared.TooltipDisplayMode.MULTI).sort(shared.SortOrder.DESCENDING))
    )
    if stacked:
        panel.stacking(common.StackingConfig().mode(shared.StackingMode.NORMAL))
    for target in _targets(queries):
        panel.with_target(target)
    return panel


def value(  # noqa: PLR0913 - each is a field of the panel
    title: str, unit: str, query: str, description: str, *, bad_above: float | None = None, words: Words = ()
) -> Panel:
    """One number, an eighth of a row wide, red above `bad_above`."""
    steps = [models.Threshold(value=None, color="green")]
    if bad_above is not None:
        steps.append(models.Threshold(value=bad_above, color="red"))
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(unit)
        .height(4)
        .span(3)
        .graph_mode(shared.BigValueGraphMode.AREA)
        .thresholds(grafana.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps))
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .mappings(_mappings(words))
    )
    for target in _targets([(query, "")]):
        panel.with_target(target)
    return panel


def states(title: str, query: Query, description: str, words: Words) -> Panel:
    """What was up when, half a row wide."""
    steps = [models.Threshold(value=None, color="red"), models.Threshold(value=1, color="green")]
    panel = (
        statetimeline.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit("short")
        .height(8)
        .span(12)
        .thresholds(grafana.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps))
        .mappings(_mappings(words))
    )
    for target in _targets([query]):
        panel.with_target(target)
    return panel


class Section(NamedTuple):
    """A heading, and what stands under it."""

    title: str
    panels: tuple[Panel, ...]


def row(title: str, *panels: Panel) -> Section:
    return Section(title, panels)


def board(
    uid: str, title: str, description: str, *sections: Section, variables: Iterable[str] = ()
) -> grafana.Dashboard:
    """A dashboard of `sections`; `variables` are further labels to choose by, each as `label=metric that has it`."""
    made = (
        grafana.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .editable()
        .refresh("30s")
        .time("now-3h", "now")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(_link())
        .with_variable(grafana.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_choice("job", "llm_build_info"))
        .with_variable(_choice("instance", 'llm_build_info{job=~"$job"}'))
    )
    for each in variables:
        label, metric = each.split("=")
        made.with_variable(_choice(label, f'{metric}{{job=~"$job",instance=~"$instance"}}'))
    for section in sections:
        made.with_row(grafana.Row(section.title))
        for panel in section.panels:
            made.with_panel(panel)
    for number, placed in enumerate(made.build().panels or [], start=1):
        placed.id_val = number
    return made


def _targets(queries: Iterable[Query]) -> Iterable[prometheus.Dataquery]:
    for letter, (expr, legend) in zip("ABCDEFGH", queries, strict=False):
        query = prometheus.Dataquery().ref_id(letter).datasource(DATASOURCE).range().expr(expr)
        yield query.legend_format(legend) if legend else query


def _mappings(words: Words) -> list[models.ValueMapping]:
    results = {
        text: models.ValueMappingResult(text=word, color=color, index=index)
        for index, (text, word, color) in enumerate(words)
    }
    return [models.ValueMap(options=results)] if results else []


def _choice(label: str, metric: str) -> grafana.QueryVariable:
    return (
        grafana.QueryVariable(label)
        .label(label.capitalize())
        .datasource(DATASOURCE)
        .query(f"label_values({metric}, {label})")
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".*")
        .current(models.VariableOption(selected=True, text="All", value="$__all"))
    )


def _link() -> grafana.DashboardLink:
    return (
        grafana.DashboardLink("Signalbox")
        .type(models.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .include_vars(include_vars=True)
        .keep_time(keep_time=True)
        .icon("external link")
        .tooltip("The other dashboards of Signalbox")
    )
