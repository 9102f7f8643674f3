"""What was measured: a figure for each load, gateway and round, and the little arithmetic done with them."""

import statistics
from collections.abc import Callable

import msgspec

Figures = dict[str, float]


class Note(msgspec.Struct, frozen=True):
    """Why a figure is missing or not to be trusted."""

    load: str
    gateway: str
    text: str
    error: bool = False
    over: bool = False
    """The gateway cannot carry the load; it is not asked again."""


class Results(msgspec.Struct):
    """All rounds, plain enough to be saved and read again."""

    setup: dict[str, str] = {}
    gateways: dict[str, dict[str, str]] = {}
    """Title, version and what was on, by name; with `missing` where it could not take part."""
    rounds: list[dict[str, Figures]] = []
    notes: list[Note] = []

    def put(self, number: int, load: str, gateway: str, figures: Figures) -> None:
        while len(self.rounds) <= number:
            self.rounds.append({})
        self.rounds[number].setdefault(f"{load} {gateway}", {}).update(figures)

    def note(self, load: str, gateway: str, text: str, *, error: bool = False, over: bool = False) -> None:
        """Once, though the next rounds may say it with other numbers."""
        if not any((each.load, each.gateway, each.error) == (load, gateway, error) for each in self.notes):
            self.notes.append(Note(load, gateway, text, error, over))

    def over_capacity(self, load: str, gateway: str) -> bool:
        return any(each.over for each in self.notes if (each.load, each.gateway) == (load, gateway))

    def errors(self, load: str, gateway: str) -> list[str]:
        return [each.text for each in self.notes if each.error and (each.load, each.gateway) == (load, gateway)]

    def values(self, load: str, gateway: str, field: str) -> list[float]:
        found = (each.get(f"{load} {gateway}", {}).get(field) for each in self.rounds)
        return [each for each in found if each is not None]

    def median(self, load: str, gateway: str, field: str) -> float | None:
        values = self.values(load, gateway, field)
        return statistics.median(values) if values else None

    def ratio(self, load: str, field: str, gateway: str, to: str) -> float | None:
        """How many times `to` this gateway has, within the same rounds."""
        return self._both(load, field, (gateway, to), lambda one, other: one / other if other else None)

    def difference(self, load: str, field: str, gateway: str, to: str) -> float | None:
        """By how much this gateway is above `to`, within the same rounds."""
        return self._both(load, field, (gateway, to), lambda one, other: one - other)

    def _both(
        self, load: str, field: str, pair: tuple[str, str], join: Callable[[float, float], float | None]
    ) -> float | None:
        joined = []
        for each in self.rounds:
            one, other = (each.get(f"{load} {name}", {}).get(field) for name in pair)
            if one is not None and other is not None and (value := join(one, other)) is not None:
                joined.append(value)
        return statistics.median(joined) if joined else None
