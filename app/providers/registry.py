"""Which targets serve which model."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from app.domain.errors import GatewayError, ModelNotFoundError
from app.providers.base import Provider
from app.providers.breaker import State
from app.providers.listing import Listings
from app.providers.standing import Standings

OWNER = "signalbox"


UNKNOWN = "unknown"
ROUTE, PREFIX, LISTED = "route", "prefix", "listed"


class Target(NamedTuple):
    """`reason` is what it was found by."""

    provider: Provider
    model: str
    reason: str = ROUTE


class ProviderRegistry:
    """Routes are resolved when it is built, so a route to nowhere stops the boot, not a request."""

    def __init__(
        self,
        providers: Iterable[Provider],
        routes: Mapping[str, Sequence[str]],
        listings: Listings,
        standings: Standings,
    ) -> None:
        self._providers = {provider.name: provider for provider in providers}
        self._routes = {model: [self._target(each) for each in targets] for model, targets in routes.items()}
        self._listings = listings
        self._standings = standings
        self._public: set[str] = set(self._routes)

    def public_name(self, model: str) -> str:
        """The same name if it is a route or somebody has ever listed it, else `unknown`: for labels, which are few."""
        if model in self._public:
            return model
        name, _, rest = model.partition("/")
        for listing in self._listings.each:
            if (model in listing.models and not listing.provider.prefix_only) or (
                listing.provider.name == name and rest in listing.models
            ):
                self._public.add(model)
                return model
        return UNKNOWN

    def route(self, model: str) -> Sequence[Target] | None:
        """The targets of a configured route, for which nobody need be asked."""
        return self._routes.get(model)

    async def targets_for(self, model: str) -> Sequence[Target]:
        """Candidates for the name `model`, best first.

        In this order: a route; `provider/model`; whoever lists the name, in configuration order. Raises
        ModelNotFoundError with the nearest names, or why no list could be read when none could.
        """
        if (route := self.route(model)) is not None:
            return route
        name, slash, rest = model.partition("/")
        if slash and rest and (provider := self._providers.get(name)) is not None:
            return [Target(provider, rest, PREFIX)]
        open_to_all = [each for each in self._listings.each if not each.provider.prefix_only]
        if found := [Target(each.provider, model, LISTED) for each in open_to_all if model in each.models]:
            for each in open_to_all:
                each.renewed()
            return found
        await asyncio.gather(*(each.read() for each in open_to_all))
        if found := [Target(each.provider, model, LISTED) for each in open_to_all if model in each.models]:
            return found
        raise self._not_found(model)

    async def cards(self) -> dict[str, dict[str, Any]]:
        """Every model a caller can name, as OpenAI's model object; what providers say of theirs stays in it."""
        cards = {model: {"id": model, "object": "model", "created": 0, "owned_by": OWNER} for model in self._routes}
        for listing in await self._listings.read():
            name = listing.provider.name
            for model, said in listing.models.items():
                id_ = f"{name}/{model}" if listing.provider.prefix_only else model
                usual = {"object": "model", "created": 0, "owned_by": name}
                cards.setdefault(id_, usual | said | {"id": id_})
        if self._standings.troubled:
            for id_, card in cards.items():
                self._mark(card, self._candidates(id_))
        return cards

    async def card(self, model: str) -> dict[str, Any]:
        """The card of one model, also when it is written `provider/model`; raises ModelNotFoundError."""
        if (card := (await self.cards()).get(model)) is not None:
            return card
        name, _, rest = model.partition("/")
        for listing in self._listings.each:
            if listing.provider.name == name and rest in listing.models:
                usual = {"object": "model", "created": 0, "owned_by": name}
                found = usual | listing.models[rest] | {"id": model}
                self._mark(found, [Target(listing.provider, rest)])
                return found
        raise self._not_found(model)

    def _candidates(self, model: str) -> Sequence[Target]:
        """Who would be asked for a listed name; asks nobody."""
        if (route := self.route(model)) is not None:
            return route
        name, _, rest = model.partition("/")
        if (provider := self._providers.get(name)) is not None and rest:
            return [Target(provider, rest)]
        return [
            Target(each.provider, model)
            for each in self._listings.each
            if not each.provider.prefix_only and model in each.models
        ]

    def _mark(self, card: dict[str, Any], targets: Sequence[Target]) -> None:
        """Say on a card that calls may fail, or will, since breakers are not closed."""
        states = [self._standings.of(each.provider.name).state_of(each.model) for each in targets]
        if any(state is not State.CLOSED for state in states):
            shut = all(state is State.OPEN for state in states)
            card["signalbox"] = {"status": "unavailable" if shut else "degraded"}

    def _not_found(self, model: str) -> GatewayError:
        asked = [each for each in self._listings.each if not each.provider.prefix_only]
        failed = [each for each in asked if each.failure is not None and not each.loaded]
        if failed and len(failed) == len(asked) and failed[0].failure is not None:
            return failed[0].failure.with_traceback(None)
        names = {*self._routes, *(name for each in asked for name in each.models)}
        near = get_close_matches(model, names, n=3, cutoff=0.5)
        message = f"no provider lists the model {model!r}"
        message += f"; did you mean {', '.join(near)}?" if near else "; GET /v1/models lists those there are"
        if failed:
            message += f" (the models of {', '.join(each.provider.name for each in failed)} could not be listed)"
        return ModelNotFoundError(message, param="model")

    def _target(self, written: str) -> Target:
        name, _, model = written.partition(":")
        if name not in self._providers:
            raise ValueError(f"the target {written!r} names no configured provider")
        return Target(self._providers[name], model)
