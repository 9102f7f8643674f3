"""Providers by their address: the report's `endpoints`, and what their connections are doing."""

from collections.abc import Iterable, Mapping, Sequence

from app.monitoring.health.adapters import ProviderIndicator
from app.monitoring.health.watch import ProviderWatch
from app.monitoring.tally import Reading


class Endpoints:
    def __init__(self, indicators: Sequence[ProviderIndicator], watches: Mapping[str, ProviderWatch]) -> None:
        self._indicators = [each for each in indicators if each.provider.endpoint]
        self._watches = watches

    @property
    def _rows(self) -> list[tuple[ProviderIndicator, ProviderWatch]]:
        return [(each, self._watches[each.provider.name]) for each in self._indicators]

    def report(self) -> dict[str, dict[str, str]]:
        """An address that several providers share is in order when all of them are."""
        found: dict[str, dict[str, str]] = {}
        for indicator, watch in self._rows:
            endpoint = indicator.provider.endpoint
            if not watch.is_up:
                found[endpoint] = {"status": "error", "detail": watch.check.reason or ""}
            elif found.get(endpoint, {}).get("status") != "error":
                told = {"version": indicator.version} if indicator.version else {}
                found[endpoint] = found.get(endpoint, {}) | {"status": "ok"} | told
        return found

    def readings(self) -> Iterable[Reading]:
        """For a scrape; readings of one name follow each other."""
        for indicator, watch in self._rows:
            labels = (("provider", indicator.provider.name), ("endpoint", indicator.provider.endpoint))
            yield Reading("llm_endpoint_up", "1 while it counts as healthy", float(watch.is_up), labels=labels)
        for indicator, _ in self._rows:
            labels = (("provider", indicator.provider.name), ("endpoint", indicator.provider.endpoint))
            told = (("kind", indicator.provider.kind), ("version", indicator.version))
            yield Reading("llm_endpoint_info", "Always 1", 1, labels=(*labels, *told))
        yield from self._connections()

    def _connections(self) -> Iterable[Reading]:
        asked = [(each.provider.name, each.provider.load()) for each, _ in self._rows]
        loads = [((("provider", name),), load) for name, load in asked if load is not None]
        for label, load in loads:
            for state, value in (("active", load.active), ("idle", load.idle)):
                labels = (*label, ("state", state))
                yield Reading("llm_endpoint_connections", "Connections, by what they are doing", value, labels=labels)
        for name, text, kind, values in (
            ("connections_limit", "Connections there may be", "gauge", [load.limit for _, load in loads]),
            ("queue_depth", "Calls that wait for a connection", "gauge", [load.waiting for _, load in loads]),
            ("queue_rejections_total", "Calls that got none in time", "counter", [load.refused for _, load in loads]),
        ):
            for (label, _), value in zip(loads, values, strict=True):
                yield Reading(f"llm_endpoint_{name}", text, value, kind, label)  # type: ignore[arg-type] # a literal
