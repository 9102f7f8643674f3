"""One HTTP request from its first byte to the last one of its answer, and where the time went."""

from typing import TypeAlias

from msgspec import Struct

from app.domain.outcome import Outcome
from app.domain.trace import Trace

PHASES = ("queue", "auth", "parse", "cache", "route", "connect", "upstream_wait", "stream", "serialise")

Phases: TypeAlias = tuple[
    float, float | None, float | None, float | None, float | None, float | None, float | None, float | None, float
]


class Passage(Struct, gc=False):
    """Marks on the clock of `time.perf_counter`, 0 where it did not come by; whoever passes one sets it.

    `arrived` is when its head was complete, `received` when all of its body was here; `answered` is the answer, or
    the first event of a stream, `ended` the stream's last. `connecting` is seconds.
    """

    arrived: float
    begun: float
    route: str = ""
    method: str = "POST"
    admitted: float = 0.0
    received: float = 0.0
    parsed: float = 0.0
    looked_up: float = 0.0
    routed: float = 0.0
    answered: float = 0.0
    ended: float = 0.0
    finished: float = 0.0
    connecting: float = 0.0
    status: int = 0
    word: str = ""
    left: bool = False
    """The caller went before the answer was complete."""
    bytes_in: int = 0
    bytes_out: int = 0
    trace: Trace | None = None
    outcome: Outcome | None = None

    def broke(self, now: float) -> None:
        """It failed: what was being done when it did has the time until now."""
        if not self.admitted:
            self.admitted = now
        elif not self.received:
            self.received = now
        elif not self.parsed:
            self.parsed = now

    def phases(self, until: float) -> Phases:
        """Seconds for each of `PHASES`, None for one it did not come to; together the time from `arrived` to `until`.

        The wait for the caller's own sending is `queue`, the wait for a provider or for another call's answer is
        `upstream_wait`; `stream` is from the first event to the last, `serialise` what is left.
        """
        begun, admitted, received = self.begun, self.admitted, self.received
        queue = begun - self.arrived
        auth = parse = cache = route = connect = wait = stream = None
        last = begun
        if admitted:
            auth = admitted - begun
            last = admitted
        if received:
            queue += received - admitted
            last = received
        if self.parsed:
            parse = self.parsed - last
            last = self.parsed
        if self.looked_up:
            cache = self.looked_up - last
            last = self.looked_up
        if self.routed:
            route = self.routed - last
            last = self.routed
            connect = self.connecting
        if self.answered:
            wait = self.answered - last - self.connecting
            last = self.answered
        if self.ended:
            stream = self.ended - last
            last = self.ended
        return queue, auth, parse, cache, route, connect, wait, stream, until - last
