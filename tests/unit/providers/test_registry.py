"""How a model name finds its targets."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from app.domain.errors import GatewayError, ModelNotFoundError
from app.domain.llm import LLMRequest, Reply
from app.domain.upstream_errors import UpstreamAuthError, UpstreamConnectError
from app.providers.listing import FRESH_SECONDS, Listings, ModelListing
from app.providers.registry import ProviderRegistry
from app.providers.standing import Standings
from app.settings import BreakerSettings, RetrySettings


class Provider:
    critical = False

    def __init__(self, name: str, *models: str, prefix_only: bool = False) -> None:
        self.name = name
        self.listed = models
        self.prefix_only = prefix_only
        self.failure: GatewayError | None = None
        self.asked = 0

    async def answer(self, request: LLMRequest, *, model: str, lines: bytes = b"") -> Reply:
        raise AssertionError(model)

    async def models(self) -> Sequence[dict[str, Any]]:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        return [{"id": model, "context_length": 8} for model in self.listed]


def registry(*providers: Provider, routes: Mapping[str, Sequence[str]] | None = None) -> ProviderRegistry:
    return ProviderRegistry(providers, routes or {}, Listings(providers), Standings(BreakerSettings(), RetrySettings()))


async def targets(made: ProviderRegistry, model: str) -> list[tuple[str, str]]:
    return [(target.provider.name, target.model) for target in await made.targets_for(model)]


ONE, TWO = ("one", "gpt", "both", "a/b:free"), ("two", "both")


async def test_a_route_comes_before_everything() -> None:
    made = registry(Provider(*ONE), Provider(*TWO), routes={"gpt": ["two:x/y:z", "one:gpt"]})

    assert await targets(made, "gpt") == [("two", "x/y:z"), ("one", "gpt")]


async def test_a_providers_name_before_the_first_slash_is_a_prefix_and_asks_no_list() -> None:
    one = Provider(*ONE)

    assert await targets(registry(one), "one/vendor/any:free") == [("one", "vendor/any:free")]
    assert one.asked == 0


async def test_a_name_is_served_by_all_who_list_it_in_configuration_order() -> None:
    made = registry(Provider(*ONE), Provider(*TWO))

    assert await targets(made, "both") == [("one", "both"), ("two", "both")]
    assert await targets(made, "a/b:free") == [("one", "a/b:free")]


async def test_a_provider_may_be_reached_by_its_prefix_only() -> None:
    made = registry(Provider("twin", "gpt", prefix_only=True), Provider("two", "other"))

    assert await targets(made, "twin/gpt") == [("twin", "gpt")]
    with pytest.raises(ModelNotFoundError):
        await made.targets_for("gpt")
    assert "twin/gpt" in await made.cards()
    assert "gpt" not in await made.cards()


async def test_an_unknown_name_is_told_the_nearest_ones() -> None:
    made = registry(Provider("one", "gpt-4o-mini", "llama"), routes={"gpt-4o-large": ["one:x"]})

    with pytest.raises(ModelNotFoundError, match=r"did you mean gpt-4o-mini, gpt-4o-large\?") as caught:
        await made.targets_for("gpt-4o-mni")

    assert caught.value.param == "model"


async def test_when_no_list_can_be_read_the_reason_is_told_and_not_that_the_model_is_unknown() -> None:
    one = Provider(*ONE)
    one.failure = UpstreamAuthError("refused", provider="one")

    with pytest.raises(UpstreamAuthError):
        await registry(one).targets_for("gpt")


async def test_when_one_list_cannot_be_read_the_others_still_serve() -> None:
    one, two = Provider(*ONE), Provider(*TWO)
    one.failure = UpstreamConnectError("down", provider="one")
    made = registry(one, two)

    assert await targets(made, "both") == [("two", "both")]
    with pytest.raises(ModelNotFoundError, match="the models of one could not be listed"):
        await made.targets_for("gpt")


async def test_a_list_is_remembered_then_served_stale_while_one_refresh_is_under_way() -> None:
    now = [0.0]
    one = Provider(*ONE)
    listing = ModelListing(one, clock=lambda: now[0])
    await listing.read()
    await listing.read()
    assert one.asked == 1

    now[0] = FRESH_SECONDS + 1
    one.listed = ("new",)
    stale = [set(await listing.read()) for _ in range(3)]
    task = listing.renewed()
    assert task is not None
    await task

    assert stale == [{"gpt", "both", "a/b:free"}] * 3
    assert set(listing.models) == {"new"}
    assert one.asked == 2


async def test_a_list_that_cannot_be_renewed_stays() -> None:
    now = [0.0]
    one = Provider(*ONE)
    listing = ModelListing(one, clock=lambda: now[0])
    await listing.read()
    now[0] = FRESH_SECONDS + 1
    one.failure = UpstreamConnectError("down", provider="one")

    await listing.refresh()

    assert set(listing.models) == {"gpt", "both", "a/b:free"}
    assert listing.failure is one.failure


async def test_cards_keep_what_the_provider_says() -> None:
    made = registry(Provider(*ONE), routes={"public": ["one:gpt"]})

    cards = await made.cards()

    assert cards["gpt"] == {"id": "gpt", "object": "model", "created": 0, "owned_by": "one", "context_length": 8}
    assert cards["public"]["owned_by"] == "signalbox"
    assert (await made.card("one/a/b:free"))["id"] == "one/a/b:free"
    with pytest.raises(ModelNotFoundError):
        await made.card("one/none")


def test_a_route_to_an_unknown_provider_is_found_when_the_registry_is_built() -> None:
    with pytest.raises(ValueError, match="nowhere:large"):
        registry(routes={"large": ["nowhere:large"]})


async def test_a_target_says_what_it_was_found_by() -> None:
    made = registry(Provider(*ONE), routes={"mine": ["one:gpt"]})

    reasons = [[target.reason for target in await made.targets_for(name)] for name in ("mine", "one/any", "gpt")]

    assert reasons == [["route"], ["prefix"], ["listed"]]


async def test_only_names_that_somebody_vouches_for_are_public() -> None:
    only_by_prefix = Provider("router", "vendor/x", prefix_only=True)
    made = registry(Provider(*ONE), only_by_prefix, routes={"mine": ["one:gpt"]})
    before = made.public_name("gpt")
    await made.cards()

    asked = ["mine", "gpt", "one/gpt", "router/vendor/x", "vendor/x", "one/made-up", "made-up", "nobody/gpt", ""]
    named = [made.public_name(name) for name in asked]

    assert before == "unknown"
    assert named == ["mine", "gpt", "one/gpt", "router/vendor/x", *["unknown"] * 5]


async def test_a_model_says_so_on_its_card_while_breakers_are_not_closed() -> None:
    one, two, aside = Provider("one", "a", "b"), Provider("two", "b"), Provider("three", "c", prefix_only=True)
    standings = Standings(BreakerSettings(failures=1), RetrySettings())
    routes = {"fast": ["one:a", "two:b"]}
    made = ProviderRegistry([one, two, aside], routes, Listings([one, two, aside]), standings)
    assert not any("signalbox" in card for card in (await made.cards()).values())

    for name, model in (("one", "a"), ("one", "b"), ("three", "c")):
        standings.of(name).ended(model, 1.0, UpstreamConnectError("no", provider=name))

    said = {id_: card.get("signalbox") for id_, card in (await made.cards()).items()}
    assert said == {
        "a": {"status": "unavailable"},
        "b": {"status": "degraded"},
        "fast": {"status": "degraded"},
        "three/c": {"status": "unavailable"},
    }
    assert (await made.card("one/a"))["signalbox"] == {"status": "unavailable"}
    assert (await made.card("two/b")).keys() >= {"id", "object", "created", "owned_by"}
    assert "signalbox" not in await made.card("two/b")
