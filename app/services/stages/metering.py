"""Count every call once it is settled, whatever became of it."""

from functools import partial

from app.domain.llm import Reply
from app.domain.outcome import Outcome
from app.monitoring.metrics import NONE, Metrics
from app.services.stages.base import Call, Handler


class MeteringStage:
    """Knows where a call is: `llm_active_requests` counts it under `none`, then under the provider that has it."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def __call__(self, call: Call, proceed: Handler) -> Reply:
        self._metrics.moved("", NONE)
        call.on_settled(partial(self._settled, call))
        return await proceed(call)

    def _settled(self, call: Call, outcome: Outcome) -> None:
        self._metrics.moved(call.place, "")
        self._metrics.call_settled(outcome)
