"""Write one line for every settled call."""

from app.domain.llm import Reply
from app.monitoring.journal import Journal
from app.services.stages.base import Call, Handler


class JournalingStage:
    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def __call__(self, call: Call, proceed: Handler) -> Reply:
        call.on_settled(self._journal.record)
        return await proceed(call)
