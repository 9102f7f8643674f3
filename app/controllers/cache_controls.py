"""What a caller asks of the cache, in any of the spellings people know."""

from typing import Any

import msgspec

from app.domain.controls import AS_CONFIGURED, CacheControls
from app.domain.llm import LLMRequest, optional

LONGEST_TTL = 30 * 24 * 3600
HEADERS = frozenset(
    {
        b"cache-control",
        b"x-portkey-cache-force-refresh",
        b"helicone-cache-enabled",
        b"x-openrouter-cache",
        b"x-openrouter-cache-ttl",
        b"cf-aig-skip-cache",
        b"cf-aig-cache-ttl",
    }
)


class _InBody(msgspec.Struct, rename="kebab"):
    """LiteLLM's `cache` field."""

    no_cache: bool | None = None
    no_store: bool | None = None
    ttl: float | None = None
    s_maxage: float | None = None


_decode = msgspec.json.Decoder(_InBody | None).decode


def controls_of(headers: dict[bytes, bytes], request: LLMRequest) -> CacheControls:
    """The caller's wishes; raises InvalidRequestError for a `cache` field that is not LiteLLM's.

    A header that cannot be read is passed over, as RFC 9111 wants it.
    """
    in_body = "cache" in request.fields
    if not in_body and HEADERS.isdisjoint(headers):
        return AS_CONFIGURED
    wishes = _from_headers(headers)
    if in_body:
        said = optional(request.fields, "cache", _decode, "an object with no-cache, no-store, ttl or s-maxage")
        if said is not None:
            wishes |= _from_body(said)
    return CacheControls(**wishes)


def _from_body(said: _InBody) -> dict[str, Any]:
    wishes: dict[str, Any] = {}
    if said.no_cache:
        wishes["read"] = False
    if said.no_store:
        wishes["store"] = False
    if said.ttl is not None and said.ttl > 0:
        wishes["ttl"] = min(said.ttl, LONGEST_TTL)
    if said.s_maxage is not None:
        wishes["max_age"] = said.s_maxage
    return wishes


def _from_headers(headers: dict[bytes, bytes]) -> dict[str, Any]:
    wishes = _from_cache_control(headers.get(b"cache-control", b""))
    if headers.get(b"x-portkey-cache-force-refresh", b"").lower() == b"true":
        wishes["read"] = False
    off = (
        headers.get(b"helicone-cache-enabled", b"").lower() == b"false"
        or headers.get(b"x-openrouter-cache", b"").lower() == b"false"
        or headers.get(b"cf-aig-skip-cache", b"").lower() == b"true"
    )
    if off:
        wishes["read"] = wishes["store"] = False
    for name in (b"x-openrouter-cache-ttl", b"cf-aig-cache-ttl"):
        if seconds := _seconds(headers.get(name, b"")):
            wishes["ttl"] = seconds
    return wishes


def _from_cache_control(text: bytes) -> dict[str, Any]:
    """RFC 9111 §5.2.1."""
    wishes: dict[str, Any] = {}
    for directive in text.lower().split(b","):
        name, _, value = directive.strip().partition(b"=")
        match name:
            case b"no-cache":
                wishes["read"] = False
            case b"no-store":
                wishes["store"] = False
            case b"only-if-cached":
                wishes["only_if_cached"] = True
            case b"max-age" if (age := _seconds(value.strip(b'"'))) is not None:
                wishes["max_age"] = age
    return wishes


def _seconds(text: bytes) -> int | None:
    return min(int(text), LONGEST_TTL) if text.isdigit() and len(text) < 12 else None
