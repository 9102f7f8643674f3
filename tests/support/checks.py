"""Things that can be asked how they are, and the service over them."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

from app.domain.health import Check, CheckStatus
from app.monitoring.health.adapters import ProviderIndicator
from app.monitoring.health.endpoints import Endpoints
from app.monitoring.health.history import History
from app.monitoring.health.service import HealthService
from app.monitoring.health.watch import ProviderWatch, Watch
from app.monitoring.metrics import Metrics
from app.providers.standing import Standing
from app.providers.upstream.base import Load
from app.settings import BreakerSettings, RetrySettings
from tests.support.metrics import made as made_metrics


def standing(name: str = "one") -> Standing:
    return Standing(name, BreakerSettings(), RetrySettings())


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


WELL = Check(status=CheckStatus.HEALTHY, value=1, threshold=80)
HOT = Check(status=CheckStatus.DEGRADED, value=99, threshold=80, reason="99% is over the threshold of 80%")


class Fake:
    """A provider as far as health looks at it."""

    prefix_only = False

    def __init__(self, name: str, *, critical: bool = False, endpoint: str = "", version: str = "") -> None:
        self.name = name
        self.kind = "ollama"
        self.endpoint = endpoint
        self.critical = critical
        self.version = version
        self.failure: Exception | None = None

    async def ping(self) -> str:
        if self.failure is not None:
            raise self.failure
        return self.version

    def load(self) -> Load:
        return Load(active=2, idle=1, limit=8, waiting=3, refused=4)


def asked(name: str, found: Check = WELL, *, down: bool = False, critical: bool = False) -> Asked:
    made = Asked(name, critical=critical, max_age=0)
    made.found = found
    made.failure = RuntimeError("down") if down else None
    return made


def service(
    *providers: Asked,
    redis: Asked | None = None,
    others: Sequence[Asked] = (),
    derived: Sequence[Asked] = (),
    now: Sequence[float] = (100.0,),
    fakes: Sequence[Fake] = (),
    **fields: Any,
) -> tuple[HealthService, Metrics]:
    """`fakes` are providers with an address."""
    metrics = made_metrics()
    history = History(metrics.health)
    clock = fields.get("clock") or (lambda: now[0])
    indicators = [ProviderIndicator(cast("Any", each), deadline=1, max_age=0) for each in fakes]
    watches = {
        each.name.removeprefix("provider:"): ProviderWatch(
            each, history, told=partial(metrics.providers.stands, each.name), standing=standing(each.name), clock=clock
        )
        for each in (*providers, *indicators)
    }
    made = HealthService(
        **{
            "providers": watches,
            "redis": Watch(redis, history, clock=clock) if redis else None,
            "others": [Watch(each, history, clock=clock) for each in others],
            "derived": [Watch(each, history, clock=clock) for each in derived],
            "endpoints": Endpoints(indicators, watches),
            "history": history,
            "fail_on": "any",
            "patience": 1.0,
            "interval": 30.0,
            "version": "1.2.3",
            "clock": clock,
        }
        | fields
    )
    return made, metrics
