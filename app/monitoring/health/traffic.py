"""What live calls say of a provider, older ones less and less."""

import time
from collections import deque
from collections.abc import Callable

from app.domain.health import CheckStatus

FAILURES_TO_FALL = 3
HALF_LIFE_SECONDS = 20.0
EVIDENCE = 5.0
UNHEALTHY_OVER, UNHEALTHY_UNTIL = 0.5, 0.25
DEGRADED_OVER, DEGRADED_UNTIL = 0.1, 0.05
KEPT = 5
FORGOTTEN = 1e-3
ROW_SECONDS = 30 * HALF_LIFE_SECONDS
WELL = "ok"


class Traffic:
    """A call counts 1 when it ends, half of that 20 s later, and so on.

    Three failures in a row are unhealthy at once. Beyond that the share of failures decides, as soon as there are
    calls for 5: over a half unhealthy, over a tenth degraded. It takes half of such a share to get back, so that
    nothing flaps at the edge. With less evidence one success is enough.

    Whom calls found down and a question finds well is on trial: one more failure is enough again. Only a success, or
    ten minutes without a failure, end a row.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.status = CheckStatus.HEALTHY
        self.recent: deque[str] = deque(maxlen=KEPT)
        self._clock = clock
        self._calls = 0.0
        self._failed = 0.0
        self._row = 0
        self._on_trial = False
        """Since its row began; means nothing while there is none."""
        self._last = ""
        self._failed_at = 0.0
        self._at = self.now = 0.0
        """`now` is when the last call ended, on the clock."""

    def well(self) -> CheckStatus:
        self._count(0.0)
        self._row = 0
        self.recent.append(WELL)
        self.status = self._by_share() if self._failed and self._calls >= EVIDENCE else CheckStatus.HEALTHY
        return self.status

    def failing(self, word: str, detail: str = "") -> CheckStatus:
        """`detail` is what the system said of it, such as Connection refused."""
        self._count(1.0)
        self._last = f"{word}: {detail}" if detail else word
        if self._row == 0 or self.now - self._failed_at >= ROW_SECONDS:
            self._row, self._on_trial = 0, False
        self._row += 1
        self._failed_at = self.now
        self.recent.append(word)
        if self._row >= FAILURES_TO_FALL:
            self.status = CheckStatus.UNHEALTHY
        elif self._calls >= EVIDENCE:
            self.status = self._by_share()
        return self.status

    @property
    def reason(self) -> str | None:
        """In a sentence, where it is not healthy."""
        if self.status is CheckStatus.HEALTHY:
            return None
        last = self._last
        if self._on_trial and self._row >= FAILURES_TO_FALL:
            return f"calls fail though our question is answered, the last with {last}"
        if self._row >= FAILURES_TO_FALL:
            return f"{self._row} attempts in a row failed, the last with {last}"
        return f"{self._failed / self._calls:.0%} of recent calls failed" + (f", the last with {last}" if last else "")

    def asked(self, *, well: bool) -> None:
        """It was silent, and a question has told how it is; that calls failed is not undone by an answer to it."""
        down = self.status is CheckStatus.UNHEALTHY
        if down:
            self._row, self._on_trial = max(self._row, FAILURES_TO_FALL - 1), well
        if down or not well:
            self._calls = self._failed = 0.0
        self.status = CheckStatus.HEALTHY

    def _count(self, failed: float) -> None:
        """Calls within a second are of one age: that spares most of them the power."""
        self.now = now = self._clock()
        if now - self._at >= 1.0:
            left = 0.5 ** ((now - self._at) / HALF_LIFE_SECONDS)
            self._calls *= left
            self._failed = self._failed * left if self._failed > FORGOTTEN else 0.0
            self._at = now
        self._calls += 1.0
        self._failed += failed

    def _by_share(self) -> CheckStatus:
        share, before = self._failed / self._calls, self.status
        if share > (UNHEALTHY_UNTIL if before is CheckStatus.UNHEALTHY else UNHEALTHY_OVER):
            return CheckStatus.UNHEALTHY
        if share > (DEGRADED_OVER if before is CheckStatus.HEALTHY else DEGRADED_UNTIL):
            return CheckStatus.DEGRADED
        return CheckStatus.HEALTHY
