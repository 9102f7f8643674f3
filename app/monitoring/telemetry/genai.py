"""The GenAI metrics, counted attempt by attempt in a tally of their own; `names.py` says what they are called.

The SDK's instruments take 8 µs for each number, and a call has eight of them: a tally takes half of one.
"""

from collections.abc import Mapping
from functools import lru_cache

from app.domain.llm import Operation
from app.domain.outcome import Outcome
from app.domain.passage import Passage
from app.domain.trace import Attempt
from app.monitoring.tally import MOST_REMEMBERED, Count, CounterFamily, Distribution, HistogramFamily, Tally
from app.monitoring.telemetry.names import OPERATIONS, Fact, Instrument, Peer, instruments
from app.settings import TelemetrySettings

UNKNOWN = "unknown"
ATTRIBUTES = (
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "server.address",
    "server.port",
)
ERROR = "error.type"


class GenAIMetrics:
    """`instruments` are what is counted, by the name of its family in `tally`."""

    def __init__(self, settings: TelemetrySettings, peers: Mapping[str, Peer], *, max_series: int) -> None:
        self.tally = Tally(max_series=max_series)
        self.instruments: dict[str, Instrument] = {}
        self._peers = peers
        self._of: dict[Fact, list[tuple[Instrument, CounterFamily | HistogramFamily]]] = {}
        for each in instruments(settings.semconv):
            family = self.tally.families.get(each.name) or self._family(each)
            self.instruments[each.name] = each
            assert isinstance(family, CounterFamily | HistogramFamily)
            self._of.setdefault(each.fact, []).append((each, family))
        self._children = lru_cache(MOST_REMEMBERED)(self._looked_up)

    def passed(self, passage: Passage) -> None:
        """A request is over: what each of its attempts took and used."""
        trace, outcome = passage.trace, passage.outcome
        if trace is None or outcome is None:
            return
        for attempt in trace.attempts:
            self._ended(attempt, outcome, attempt.ended or passage.finished)

    def _ended(self, attempt: Attempt, outcome: Outcome, ended: float) -> None:
        usage, operation = attempt.usage, outcome.operation
        # a name that nobody lists is the caller's own, and there is no end of them
        model = UNKNOWN if outcome.public_model == UNKNOWN else attempt.model
        key = (operation, attempt.provider, model)
        used = bool(usage.prompt_tokens or usage.completion_tokens)
        if operation is Operation.EMBEDDING:
            self._note(Fact.OTHER_SECONDS, *key, ended - attempt.started, error=attempt.error)
            self._note(Fact.OTHER_INPUT_TOKENS, *key, usage.prompt_tokens, told=used)
            return
        self._note(Fact.INFERENCE_SECONDS, *key, ended - attempt.started, error=attempt.error)
        if outcome.stream and attempt.answered:
            self._note(Fact.FIRST_CHUNK, *key, attempt.answered - attempt.started)
            if outcome.chunks > 1:
                self._note(Fact.CHUNK_SECONDS, *key, ended - attempt.answered, times=outcome.chunks - 1)
        self._note(Fact.INPUT_TOKENS, *key, usage.prompt_tokens, told=used)
        self._note(Fact.OUTPUT_TOKENS, *key, usage.completion_tokens, told=used)

    def _note(  # noqa: PLR0913 - what is noted
        self,
        fact: Fact,
        operation: Operation,
        provider: str,
        model: str,
        amount: float,
        *,
        error: str = "",
        times: int = 1,
        told: bool = True,
    ) -> None:
        """`amount` is of `times` things that are not told apart; a counter shows 0 where nothing was `told`."""
        for child in self._children(fact, operation, provider, model, error, told):
            if isinstance(child, Count):
                child.value += amount
            else:
                child.spread(amount, times)

    def _looked_up(  # noqa: PLR0913, PLR0917 - a key
        self,
        fact: Fact,
        operation: Operation,
        provider: str,
        model: str,
        error: str,
        told: bool,  # noqa: FBT001 - a key
    ) -> list[Count | Distribution]:
        peer = self._peers.get(provider) or Peer(provider)
        usual = (OPERATIONS[operation], peer.name, model, peer.address, str(peer.port or ""))
        found: list[Count | Distribution] = []
        for instrument, family in self._of.get(fact, ()):
            fixed = tuple(value for _, value in instrument.fixed)
            if told or not instrument.bounds:
                found.append(family.of(*usual, *([str(error)] if instrument.with_error else []), *fixed))
        return found

    def _family(self, each: Instrument) -> CounterFamily | HistogramFamily:
        names = [*ATTRIBUTES, *([ERROR] if each.with_error else []), *(name for name, _ in each.fixed)]
        if each.bounds:
            return self.tally.histogram(each.name, each.text, *names, bounds=each.bounds)
        return self.tally.counter(each.name, each.text, *names)
