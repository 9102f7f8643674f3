"""Installed packages that declare metrics of their own, found by their entry points."""

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

from app.monitoring.custom import CustomMetrics
from app.monitoring.naming import MetricError
from app.settings import ConfigError

GROUP = "signalbox.metrics"


def load_plugins(custom: CustomMetrics, found: Iterable[EntryPoint] | None = None) -> None:
    """Import each entry point's module; where it names a function, call that with `custom`, once.

    Raises ConfigError naming the package that could not: a metric that is missing in silence would be noticed too late.
    """
    for each in entry_points(group=GROUP) if found is None else found:
        if each.name in custom.plugins:
            continue
        try:
            loaded = each.load()
            if callable(loaded):
                loaded(custom)
        except Exception as error:
            reason = str(error) if isinstance(error, MetricError) else f"{type(error).__name__}: {error}"
            package = f"{each.dist.name} {each.dist.version}" if each.dist else each.value
            raise ConfigError(f"the plugin {each.name}", reason, origin=package) from error
        custom.plugins.add(each.name)
