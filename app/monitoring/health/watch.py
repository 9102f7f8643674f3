"""One check over time: asked when what is known is too old, by one task however many want to know."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

from msgspec.structs import replace

from app.domain.errors import CapacityError, GatewayError
from app.domain.health import Change, Check, CheckStatus
from app.monitoring.health.base import Indicator
from app.monitoring.health.history import History
from app.monitoring.health.traffic import Traffic
from app.providers.breaker import State
from app.providers.standing import Standing


class Watch:
    """What was never asked counts as healthy."""

    def __init__(self, indicator: Indicator, history: History, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = indicator.name
        self.critical = indicator.critical
        self.check = Check(status=CheckStatus.HEALTHY, since=now())
        self.max_age = indicator.max_age
        self._indicator = indicator
        self._history = history
        self._clock = clock
        self._fresh_until = 0.0
        self._asking: asyncio.Task[None] | None = None
        self._retired = False
        history.metrics.stands(self.name, CheckStatus.HEALTHY)

    @property
    def is_up(self) -> bool:
        return self.check.status is not CheckStatus.UNHEALTHY

    def refresh(self) -> "asyncio.Task[None] | None":
        """The question under way, begun now if what is known is too old."""
        if self._asking is None and self._clock() >= self._fresh_until:
            self._asking = asyncio.create_task(self._ask(), name=f"health {self.name}")
            self._asking.add_done_callback(self._asked)
        return self._asking

    def shown(self) -> Check:
        """Its line of the report."""
        return self.check

    def stand(self) -> None:
        """Say in the metrics how it stands."""
        self._history.metrics.stands(self.name, self.check.status)

    def resume(self, before: "Watch") -> None:
        """What is known of the same thing goes on to be known."""
        self.check = before.check
        self._fresh_until = before._fresh_until  # noqa: SLF001 - one of its kind

    def retire(self) -> None:
        """What it watches is none of ours any more: from now on it keeps to itself how that is."""
        self._retired = True

    async def aclose(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    def _asked(self, _: "asyncio.Task[None]") -> None:
        self._asking = None

    async def _ask(self) -> None:
        started, indicator = self._clock(), self._indicator
        latency: float | None = None
        try:
            async with asyncio.timeout(indicator.deadline):
                found = await indicator.run()
        except CapacityError:
            return  # a limit of ours tells nothing: what it says stays, and it is asked at the next look
        except TimeoutError as error:
            said = str(error) or f"no answer within {indicator.deadline:g} s"
            found = Check(status=CheckStatus.UNHEALTHY, reason=said)
        except Exception as error:  # noqa: BLE001 - a health check reports failures, it never has one
            found = Check(status=CheckStatus.UNHEALTHY, reason=_said(error))
        else:
            latency = round((self._clock() - started) * 1000, 2)
        self._history.metrics.asked(self.name, self._clock() - started)
        self._fresh_until = started + indicator.max_age  # from its beginning: who asks each interval is not late by it
        reason = self._history.clean(found.reason) if found.reason else None
        self._answered(replace(found, latency_ms=latency, reason=reason))

    def _answered(self, found: Check) -> None:
        self._stands(found)

    def _stands(self, found: Check) -> None:
        before = self.check
        if found.status is before.status:
            self.check = replace(found, since=before.since)
            return
        when = now()
        self.check = replace(found, since=when)
        if self._retired:
            return
        change = Change(time=when, check=self.name, before=before.status, after=found.status, reason=found.reason)
        self._history.turned(change)


class ProviderWatch(Watch):
    """Live traffic counts first: while it speaks nobody is asked, and an answer counts only where it was silent."""

    def __init__(  # noqa: PLR0913 - what it hears, and whom it tells
        self,
        indicator: Indicator,
        history: History,
        *,
        told: Callable[..., object],
        standing: Standing,
        asks: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`told` hears `is_up`, at each turn; not `asks`: the indicator answers without asking the provider."""
        super().__init__(indicator, history, clock=clock)
        self._found = self.check
        self._standing = standing
        self._asks = asks
        standing.heard = self._breaker_turned
        self._traffic = Traffic(clock=clock)
        self._told = told
        self._heard = False
        self.flowing = False
        """Set at each event of a stream, which ends long after it: this alone, since there are many."""

    def ask_as(self, after: "ProviderWatch") -> None:
        """The question is now that of `after`, whose provider is the same one, told of anew."""
        self._indicator, self._asks = after._indicator, after._asks  # noqa: SLF001 - one of its kind
        self.critical, self.max_age = after.critical, after.max_age

    def stand(self) -> None:
        super().stand()
        self._standing.heard = self._breaker_turned
        self._told(is_up=self.is_up)

    def well(self) -> None:
        """A call was answered."""
        self._heard = True
        traffic = self._traffic
        if traffic.well() is not self.check.status:
            self._by_traffic()
        self._fresh_until = traffic.now + self.max_age

    def failing(self, word: str, detail: str = "") -> None:
        """A call failed by no fault of its caller's."""
        status = self._traffic.failing(word, detail)
        if status is not CheckStatus.HEALTHY:
            self._heard = True
            self._fresh_until = self._clock() + self.max_age
            self._by_traffic()
        self.flowing = False

    def refresh(self) -> "asyncio.Task[None] | None":
        """Streams that flow spare the question where it is up; they lift nothing before they have ended well."""
        if self.flowing:
            self.flowing = False
            if self.is_up:
                self._heard = True
                self._fresh_until = self._clock() + self.max_age
        return super().refresh()

    def shown(self) -> Check:
        return replace(self.check, recent=tuple(self._traffic.recent)) if self._traffic.recent else self.check

    async def _ask(self) -> None:
        self._heard = False
        await super()._ask()

    def _answered(self, found: Check) -> None:
        """What calls have said meanwhile counts more."""
        if self._heard or (self.flowing and self.is_up):
            return
        well = found.status is not CheckStatus.UNHEALTHY
        self._traffic.asked(well=well)
        if well and self._asks:
            self._standing.reached()
        self._stands(found)

    def _by_traffic(self) -> None:
        self._stands(Check(status=self._traffic.status, reason=self._traffic.reason, latency_ms=self.check.latency_ms))

    def _breaker_turned(self) -> None:
        self._stands(self._found)

    def _stands(self, found: Check) -> None:
        was_up, self._found = self.is_up, found
        super()._stands(self._with_breakers(found) if self._standing.known else found)
        if self.is_up is not was_up and not self._retired:
            self._told(is_up=self.is_up)

    def _with_breakers(self, found: Check) -> Check:
        """Whom no call is sent to is down, and it is not well while any of its models is left alone."""
        whole, models = self._standing.states()
        if whole is models is State.CLOSED:
            return found
        trouble = self._standing.trouble()
        if found.status is CheckStatus.HEALTHY:
            found = replace(found, status=CheckStatus.DEGRADED, reason=self._standing.why())
        if whole is State.OPEN:
            found = replace(found, status=CheckStatus.UNHEALTHY)
        return replace(found, reason=f"{found.reason}; {trouble}")


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _said(error: Exception) -> str:
    """A failure of ours by its word first."""
    word = f"{error.word}: " if isinstance(error, GatewayError) else ""
    said, detail = str(error) or type(error).__name__, getattr(error, "detail", "")
    return f"{word}{said}: {detail}" if detail and detail not in said else f"{word}{said}"
