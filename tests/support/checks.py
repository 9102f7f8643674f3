"""Something a watch can ask how it is."""

import asyncio

from app.domain.health import Check, CheckStatus


class Asked:
    """Answers `found`, or fails with `failure`, once its gate is open."""

    def __init__(
        self, name: str = "one", *, deadline: float = 5.0, max_age: float = 30.0, critical: bool = False
    ) -> None:
        self.name = name
        self.deadline = deadline
        self.max_age = max_age
        self.critical = critical
        self.times = 0
        self.failure: Exception | None = None
        self.found = Check(status=CheckStatus.HEALTHY)
        self.gate = asyncio.Event()
        self.gate.set()

    async def run(self) -> Check:
        self.times += 1
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return self.found
