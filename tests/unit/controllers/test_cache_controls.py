"""The same wish in every spelling."""

from typing import Any

import pytest

from app.controllers.cache_controls import HEADERS, LONGEST_TTL, controls_of
from app.domain.controls import AS_CONFIGURED, CacheControls
from app.domain.errors import InvalidRequestError
from app.domain.llm import LLMRequest, Operation

NEITHER = CacheControls(read=False, store=False)


def controls(cache: bytes = b"", **headers: str) -> CacheControls:
    said = b',"cache":' + cache if cache else b""
    request = LLMRequest.parse(Operation.CHAT, b'{"model":"m","messages":[]' + said + b"}")
    return controls_of({name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}, request)


def test_who_says_nothing_gets_what_is_configured() -> None:
    assert controls(accept="*/*") is AS_CONFIGURED


@pytest.mark.parametrize(
    ("text", "wishes"),
    [
        ("no-cache", {"read": False}),
        ("No-Store", {"store": False}),
        ("no-cache, no-store", {"read": False, "store": False}),
        ("only-if-cached", {"only_if_cached": True}),
        ("max-age=60", {"max_age": 60}),
        ('max-age="60"', {"max_age": 60}),
        ("max-age=0", {"max_age": 0}),
        ("max-age=99999999999", {"max_age": LONGEST_TTL}),
        ("max-age=-1", {}),
        ("max-age=soon", {}),
        ("max-age=" + "9" * 5000, {}),
        ("public,,=,min-fresh=3", {}),
        ("", {}),
    ],
)
def test_cache_control_is_read_and_what_cannot_be_read_is_passed_over(text: str, wishes: dict[str, Any]) -> None:
    assert controls(cache_control=text) == CacheControls(**wishes)


@pytest.mark.parametrize(
    ("headers", "wished"),
    [
        ({"x_portkey_cache_force_refresh": "True"}, CacheControls(read=False)),
        ({"x_portkey_cache_force_refresh": "false"}, AS_CONFIGURED),
        ({"helicone_cache_enabled": "False"}, NEITHER),
        ({"helicone_cache_enabled": "true"}, AS_CONFIGURED),
        ({"x_openrouter_cache": "false"}, NEITHER),
        ({"cf_aig_skip_cache": "true"}, NEITHER),
        ({"cf_aig_skip_cache": "false"}, AS_CONFIGURED),
        ({"x_openrouter_cache_ttl": "60"}, CacheControls(ttl=60)),
        ({"cf_aig_cache_ttl": "60"}, CacheControls(ttl=60)),
        ({"cf_aig_cache_ttl": "0"}, AS_CONFIGURED),
        ({"cf_aig_cache_ttl": "99999999999"}, CacheControls(ttl=LONGEST_TTL)),
        ({"cf_aig_cache_ttl": "soon"}, AS_CONFIGURED),
    ],
)
def test_other_gateways_headers_are_read(headers: dict[str, str], wished: CacheControls) -> None:
    assert {name.replace("_", "-").encode() for name in headers} <= HEADERS
    assert controls(**headers) == wished


@pytest.mark.parametrize(
    ("cache", "wished"),
    [
        (b"null", AS_CONFIGURED),
        (b"{}", AS_CONFIGURED),
        (b'{"no-cache":true}', CacheControls(read=False)),
        (b'{"no-store":true,"no-cache":false}', CacheControls(store=False)),
        (b'{"ttl":60,"s-maxage":5.5}', CacheControls(ttl=60, max_age=5.5)),
        (b'{"ttl":1e9}', CacheControls(ttl=LONGEST_TTL)),
        (b'{"ttl":0}', AS_CONFIGURED),
        (b'{"ttl":-5}', AS_CONFIGURED),
        (b'{"namespace":"x"}', AS_CONFIGURED),
    ],
)
def test_the_field_in_the_body_is_read(cache: bytes, wished: CacheControls) -> None:
    assert controls(cache) == wished


@pytest.mark.parametrize("cache", [b"true", b"[]", b'"no"', b'{"ttl":"60"}', b'{"no-cache":1}', b'{"ttl":1e400}'])
def test_a_field_of_another_shape_is_refused(cache: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="no-cache, no-store, ttl or s-maxage") as caught:
        controls(cache)

    assert caught.value.param == "cache"


def test_wishes_add_up_and_the_body_has_the_last_word() -> None:
    wished = controls(b'{"no-store":true,"ttl":5}', cache_control="no-cache", cf_aig_cache_ttl="60")

    assert wished == CacheControls(read=False, store=False, ttl=5)
