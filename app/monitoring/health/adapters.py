"""Checks of what stands outside: providers, Redis, models."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from app.cache.base import CacheBackend, RedisState
from app.domain.errors import QueueTimeoutError
from app.domain.health import Check, CheckStatus
from app.domain.upstream_errors import UpstreamError
from app.monitoring.conditions import RedisMetrics
from app.providers.base import Provider
from app.providers.listing import Listings, ModelListing

WELL = Check(status=CheckStatus.HEALTHY)
IsUp = Callable[[str], bool]
Wanted = Sequence[tuple[ModelListing, str]]


class ProviderIndicator:
    """Asks by the cheapest free question. Without `probe` nobody is asked: who is silent counts as up."""

    def __init__(self, provider: Provider, *, deadline: float, max_age: float, probe: bool = True) -> None:
        self.name = f"provider:{provider.name}"
        self.critical = provider.critical
        self.deadline = deadline
        self.max_age = max_age
        self.provider = provider
        self.version = ""
        self.probe = probe

    async def run(self) -> Check:
        """A server that has no list of models, or will not give it now, is not down for that.

        Raises QueueTimeoutError at once where calls have all our connections: it would only wait in our own queue.
        """
        if self.probe:
            load = self.provider.load()
            if load is not None and load.active >= load.limit:
                raise QueueTimeoutError(f"all connections to {self.provider.name} are busy", retry_after=1)
            try:
                self.version = await self.provider.ping()
            except UpstreamError as error:
                if error.hurts:
                    raise
        return WELL


class RedisIndicator:
    """Degraded where it answers too late to be of use, a lookup not being waited for so long, or is left alone.

    A policy that will make writes fail is told of, and is no fault yet.
    """

    name = "redis"
    critical = False
    max_age = 0.0

    def __init__(self, cache: CacheBackend, metrics: RedisMetrics, *, deadline: float, useful: float) -> None:
        """`useful` are the seconds a lookup may take."""
        self.deadline = deadline
        self._cache = cache
        self._metrics = metrics
        self._useful = useful

    async def run(self) -> Check:
        started, is_up = time.perf_counter(), False
        try:
            await self._cache.ping()
            is_up = True
        except ConnectionError as error:
            return Check(status=CheckStatus.UNHEALTHY, reason=str(error), errors=self._cache.size.errors)
        finally:
            seconds = time.perf_counter() - started
            self._metrics.asked(is_up=is_up, seconds=seconds)
        errors, state = self._cache.size.errors, self._cache.size.redis or RedisState()
        if state.breaker:
            return Check(status=CheckStatus.DEGRADED, reason=f"it is left alone: {state.reason}", errors=errors)
        if seconds > self._useful:
            reason = f"a ping took {seconds * 1000:.0f} ms, a lookup may take {self._useful * 1000:g} ms"
            return Check(status=CheckStatus.DEGRADED, reason=reason, errors=errors)
        unsafe = f"maxmemory-policy is {state.policy}: once it is full, writes fail" if state.policy_unsafe else None
        return Check(status=CheckStatus.HEALTHY, reason=unsafe, errors=errors)


class ModelsIndicator:
    """How many models can be had; unhealthy when no provider is left."""

    name = "models"
    critical = False
    deadline = 1.0
    max_age = 0.0

    def __init__(self, listings: Listings, is_up: IsUp, counted: Callable[[int, int], object]) -> None:
        self._listings = listings
        self._is_up = is_up
        self._counted = counted

    async def run(self) -> Check:
        """A provider that is down and has never told its models counts as one that failed."""
        up = [each for each in self._listings.each if self._is_up(each.provider.name)]
        down = [each for each in self._listings.each if each not in up]
        loaded, failed = sum(len(each.models) for each in up), sum(len(each.models) or 1 for each in down)
        self._counted(loaded, failed)
        if up:
            return Check(status=CheckStatus.HEALTHY, loaded=loaded, failed=failed)
        reason = "no provider is up"
        return Check(status=CheckStatus.UNHEALTHY, loaded=loaded, failed=failed, reason=reason)


class ModelIndicator:
    """Whether a provider that is up lists a model, by whatever name callers use; lists are free to ask for."""

    critical = False

    def __init__(self, model: str, wanted: Wanted, is_up: IsUp, *, deadline: float, max_age: float) -> None:
        self.name = f"model:{model}"
        self.deadline = deadline
        self.max_age = max_age
        self._is_up = is_up
        self._wanted = wanted

    async def run(self) -> Check:
        due = [each.renewed() for each, _ in self._wanted if self._is_up(each.provider.name)]
        await asyncio.gather(*(asyncio.shield(task) for task in due if task is not None))
        who = [each.provider.name for each, model in self._wanted if model in each.models]
        if any(map(self._is_up, who)):
            return WELL
        unread = [each.provider.name for each, _ in self._wanted if not each.loaded]
        if who:
            reason = f"only {', '.join(who)} has it, and is down"
        elif unread:
            reason = f"the models of {', '.join(unread)} could not be listed"
        else:
            reason = "no provider lists it"
        return Check(status=CheckStatus.UNHEALTHY, reason=reason)


def wanted(model: str, routes: Mapping[str, Sequence[str]], listings: Listings) -> Wanted:
    """Who may have a model, and by which name: as `ProviderRegistry.targets_for` looks it up."""
    by_name = {each.provider.name: each for each in listings.each}
    if model in routes:
        parts = [target.partition(":") for target in routes[model]]
        return [(by_name[provider], name) for provider, _, name in parts]
    provider, slash, rest = model.partition("/")
    if slash and rest and provider in by_name:
        return [(by_name[provider], rest)]
    return [(each, model) for each in listings.each if not each.provider.prefix_only]
