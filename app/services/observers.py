"""Who only listens: told when a call begins and how it ended, never in its way."""

from typing import Protocol

from app.domain.outcome import Outcome
from app.monitoring.backlog import Backlog
from app.monitoring.calls import NONE
from app.monitoring.journal import Journal
from app.monitoring.metrics import ProviderMetrics


class Observer(Protocol):
    """Neither waits nor fails: it is called between two steps of a call."""

    def began(self) -> None: ...

    def ended(self, outcome: Outcome) -> None:
        """Once for every call, whatever became of it."""
        ...


class Metering:
    """Counts calls; `llm_active_requests` has each under `none`, then under the provider that has it."""

    def __init__(self, metrics: ProviderMetrics, settled: Backlog[Outcome]) -> None:
        self._metrics = metrics
        self._settled = settled

    def began(self) -> None:
        self._metrics.moved("", NONE, "")

    def ended(self, outcome: Outcome) -> None:
        self._metrics.moved(outcome.place, "", outcome.public_model)
        self._settled.add(outcome)


class Journaling:
    """Writes one line for every settled call."""

    def __init__(self, journal: Journal) -> None:
        self.ended = journal.record

    def began(self) -> None:
        return None
