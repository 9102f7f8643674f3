"""Who only listens: told when a call begins and how it ended, never in its way."""

from typing import Protocol

from app.domain.outcome import Outcome
from app.monitoring.journal import Journal
from app.monitoring.metrics import NONE, Metrics


class Observer(Protocol):
    """Neither waits nor fails: it is called between two steps of a call."""

    def began(self) -> None: ...

    def ended(self, outcome: Outcome) -> None:
        """Once for every call, whatever became of it."""
        ...


class Metering:
    """Counts calls; `llm_active_requests` has each under `none`, then under the provider that has it."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def began(self) -> None:
        self._metrics.moved("", NONE)

    def ended(self, outcome: Outcome) -> None:
        self._metrics.moved(outcome.place, "")
        self._metrics.call_settled(outcome)


class Journaling:
    """Writes one line for every settled call."""

    def __init__(self, journal: Journal) -> None:
        self.ended = journal.record

    def began(self) -> None:
        return None
