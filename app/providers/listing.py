"""Which models the providers list: remembered for a while, asked again beside the calls, never in their way."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from app.domain.errors import GatewayError
from app.domain.upstream_errors import UpstreamTimeoutError
from app.providers.base import Provider

FRESH_SECONDS = 300.0
FAILED_SECONDS = 10.0
PATIENCE_SECONDS = 10.0

logger = structlog.get_logger("signalbox.listing")


class ModelListing:
    """One provider's list. The first reader waits for it, later ones are served what is there while it is renewed."""

    def __init__(self, provider: Provider, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.provider = provider
        self.models: Mapping[str, dict[str, Any]] = {}
        self.failure: GatewayError | None = None
        self.loaded = False
        self._clock = clock
        self._due = 0.0
        self._refreshing: asyncio.Task[None] | None = None

    async def read(self) -> Mapping[str, dict[str, Any]]:
        """The models by id; empty, with `failure` set, when the provider never could be asked."""
        task = self.renewed()
        if task is not None and not self.loaded:
            await asyncio.shield(task)
        return self.models

    def renewed(self) -> "asyncio.Task[None] | None":
        """The refresh under way, begun now if one is due."""
        if self._refreshing is None and self._clock() >= self._due:
            self._refreshing = asyncio.create_task(self.refresh())
            self._refreshing.add_done_callback(self._forget)
        return self._refreshing

    async def refresh(self) -> None:
        """Ask the provider; what it said before stays when it cannot be asked."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                listed = await self.provider.models()
        except (GatewayError, TimeoutError) as error:
            late = UpstreamTimeoutError("the list of models did not come in time", provider=self.provider.name)
            self.failure = error if isinstance(error, GatewayError) else late
            self._due = self._clock() + FAILED_SECONDS
            detail = getattr(self.failure, "detail", "")
            logger.warning("models not listed", provider=self.provider.name, error=self.failure.word, detail=detail)
        else:
            self.models = {each["id"]: each for each in listed}
            self.failure = None
            self.loaded = True
            self._due = self._clock() + FRESH_SECONDS

    async def ended(self) -> None:
        """The refresh under way is over."""
        if self._refreshing is not None:
            await asyncio.wait([self._refreshing])

    def resume(self, before: "ModelListing") -> None:
        """What the same provider said before goes on to be known."""
        self.models, self.failure, self.loaded = before.models, before.failure, before.loaded
        self._due = before._due  # noqa: SLF001 - one of its kind

    async def aclose(self) -> None:
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.gather(self._refreshing, return_exceptions=True)

    def _forget(self, _: "asyncio.Task[None]") -> None:
        self._refreshing = None


class Listings:
    """The lists of all providers, in configuration order."""

    def __init__(self, providers: Sequence[Provider]) -> None:
        self.each = [ModelListing(provider) for provider in providers]

    def follow(self, before: "Listings", *, same: Callable[[str], bool]) -> None:
        """Go on from what `before` knows of the providers that are the `same`."""
        known = {each.provider.name: each for each in before.each}
        for each in self.each:
            if each.provider.name in known and same(each.provider.name):
                each.resume(known[each.provider.name])

    async def run(self) -> None:
        """The worker that has them ready before the first call needs them."""
        await asyncio.gather(*(listing.read() for listing in self.each))

    async def read(self) -> list[ModelListing]:
        """All of them, loaded as far as they can be."""
        await asyncio.gather(*(listing.read() for listing in self.each))
        return self.each

    async def aclose(self) -> None:
        for listing in self.each:
            await listing.aclose()
