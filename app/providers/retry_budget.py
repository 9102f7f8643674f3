"""How many retries one provider may be asked for, so that they do not make an outage worse."""

import time
from collections.abc import Callable

from app.settings import RetrySettings

WINDOW_SECONDS = 10.0


class RetryBudget:
    """A share of the calls of about the last ten seconds, and a few a second whatever the traffic.

    What was not spent runs out with the window, so that a long quiet time saves nothing up.
    """

    __slots__ = ("_at", "_balance", "_clock", "calls", "refused", "settings")

    def __init__(self, settings: RetrySettings, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self.settings = settings
        self.calls = 0
        """Whoever asks for the first time counts itself here: a method would cost the call more."""
        self.refused = 0
        self._clock = clock
        self._at = clock()
        self._balance = settings.budget_per_second * WINDOW_SECONDS

    def take(self) -> bool:
        """Whether one more retry may be; it is spent then."""
        settings, now = self.settings, self._clock()
        elapsed, self._at = now - self._at, now
        earned = self.calls * settings.budget_percent / 100 + elapsed * settings.budget_per_second
        self.calls = 0
        if elapsed > WINDOW_SECONDS:
            self._balance = earned * WINDOW_SECONDS / elapsed
        else:
            self._balance = self._balance * (1 - elapsed / WINDOW_SECONDS) + earned
        if self._balance < 1:
            self.refused += 1
            return False
        self._balance -= 1
        return True
