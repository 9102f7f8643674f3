"""What breakers and retry budgets have come to, looked up when somebody asks: nothing is counted beside them."""

from collections.abc import Iterable

from app.monitoring.tally import Reading
from app.providers.breaker import State
from app.providers.standing import SCOPES, Standing, Standings

VALUES = {State.CLOSED: 0.0, State.HALF_OPEN: 1.0, State.OPEN: 2.0}


class StandingReadings:
    """For a scrape; readings of one name follow each other. Each provider has all of them from the start."""

    def __init__(self, standings: Standings, names: Iterable[str]) -> None:
        self._standings = standings
        self.names = list(names)
        """Of the providers there are."""

    def __call__(self) -> Iterable[Reading]:
        each = [self._standings.of(name) for name in self.names]
        for standing in each:
            for scope, state in zip(SCOPES, standing.states(), strict=True):
                labels = (("provider", standing.name), ("scope", scope))
                text = "0 closed, 1 half-open, 2 open; of models the worst"
                yield Reading("llm_circuit_breaker_state", text, VALUES[state], labels=labels)
        for standing in each:
            yield from _transitions(standing)
        for standing in each:
            text, label = "Targets passed over because a breaker was not closed", (("provider", standing.name),)
            yield Reading("llm_circuit_breaker_skips_total", text, standing.skipped, "counter", label)
        for standing in each:
            text, label = "Retries the budget did not allow", (("provider", standing.name),)
            yield Reading("llm_retries_refused_total", text, standing.retries.refused, "counter", label)


def _transitions(standing: Standing) -> Iterable[Reading]:
    for scope in SCOPES:
        for state in State:
            labels = (("provider", standing.name), ("scope", scope), ("to", str(state)))
            turns = standing.turns.get((scope, state), 0)
            yield Reading("llm_circuit_breaker_transitions_total", "Times a breaker turned", turns, "counter", labels)
