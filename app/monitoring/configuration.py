"""Whether what runs is what the configuration says: for metrics, and as a check of health."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from app.domain.health import Check, CheckStatus
from app.monitoring.tally import Reading

Result = Literal["applied", "partly", "unchanged", "refused"]
RESULTS: tuple[Result, ...] = ("applied", "partly", "unchanged", "refused")


class Configuration:
    """An `Indicator`: degraded while what was read last could not be taken, or not as a whole.

    One for the life of the process; what it was started with counts as a success.
    """

    name = "configuration"
    critical = False
    deadline = 1.0
    max_age = 0.0

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self.digest = ""
        """Of the settings in force, without their secrets: it is the same in every process that has the same ones."""
        self.refused = ""
        """Why what was read last is not in force."""
        self.waiting: Sequence[str] = ()
        """Settings that need a restart."""
        self._clock = clock
        self._succeeded_at = clock()
        self._results = Counter[Result]()

    def took(self, digest: str, *, result: Result, waiting: Sequence[str] = ()) -> None:
        """It was read, and is in force but for what is `waiting` for a restart."""
        self.digest, self.refused, self.waiting = digest, "", waiting
        self._succeeded_at = self._clock()
        self._results[result] += 1

    def kept(self, why: str) -> None:
        """It could not be taken: what was in force stays so."""
        self.refused = why
        self._results["refused"] += 1

    async def run(self) -> Check:
        if self.refused:
            reason = f"not taken, what ran before goes on: {self.refused}"
            return Check(status=CheckStatus.DEGRADED, reason=reason)
        if self.waiting:
            return Check(status=CheckStatus.DEGRADED, reason=f"a restart is needed for {', '.join(self.waiting)}")
        return Check(status=CheckStatus.HEALTHY)

    def readings(self) -> Iterable[Reading]:
        """For a scrape."""
        yield Reading("llm_config_info", "Always 1; of the settings in force", 1, labels=(("hash", self.digest),))
        yield Reading(
            "llm_config_last_reload_successful", "1 while what was read last is in force", float(not self.refused)
        )
        yield Reading("llm_config_last_reload_success_timestamp_seconds", "When it last was taken", self._succeeded_at)
        yield Reading("llm_config_restart_required", "Settings that wait for a restart", len(self.waiting))
        for result in RESULTS:
            labels = (("result", result),)
            yield Reading(
                "llm_config_reloads_total", "Times it was read again", self._results[result], "counter", labels
            )
