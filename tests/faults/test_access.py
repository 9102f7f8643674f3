"""Keys: who is let in, who is not, and who tries for too long."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar.routes import HTTPRoute

from app.container import Container
from app.controllers import Policy
from app.main import create_app
from app.settings import load
from tests.support.failures import (
    AUTHENTICATION,
    CHAT,
    HEAD_TOO_LARGE,
    INVALID,
    Row,
    check_common,
    check_refusal,
    question,
)
from tests.support.flood import statuses
from tests.support.processes import (
    PATIENCE_SECONDS,
    GatewayProcess,
    ProviderProcess,
    gateway_process,
)
from tests.support.raw import Wire, head, request

pytestmark = pytest.mark.e2e

ALICE = "sk-alice-0123456789abcdef-first"
LIKE_ALICE = f"{ALICE[:24]}-other"
CAROL = f"{ALICE[:24]}-third"
METRICS_KEY = "sk-metrics-0011223344"
WRONG = "sk-mallory-5566778899"
ANOTHER_ADDRESS = "127.0.0.2"
FOREIGN = {"host": "gateway.test"}
TOO_MANY = Row("rate_limited", 429, "requests", "rate_limit_exceeded")
ITS_OWN = {"x-request-id", "date", "server-timing"}
OF_ITS_BODY = {"connection"}  # closed where the rest of a body was still to come
OPEN = {
    *("/health", "/health/live", "/livez", "/health/liveliness"),
    *("/health/ready", "/readyz", "/health/readiness", "/monitoring/health"),
    *("/openapi.json", "/openapi.json/openapi.json", "/openapi.json/{path}"),
}
HOT = {"/v1/chat/completions", "/v1/completions", "/v1/embeddings"}


def guarded(directory: Path, provider: ProviderProcess, **server: Any) -> Any:
    """A gateway with keys and the shortest of all limits left out, unless `server` says otherwise."""
    config = {
        "providers": {"primary": {"base_url": provider.base_url("primary")}},
        "server": {"wrong_keys_per_minute": 0} | server,
        "health": {"public_details": False},
        "metrics": {"key": METRICS_KEY},
        "keys": {"alice": {"key": ALICE}, "carol": {"key": CAROL}},
    }
    return gateway_process(directory, config)


@pytest.fixture(scope="module")
def gateway(provider: ProviderProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with guarded(tmp_path_factory.mktemp("guarded"), provider) as process:
        yield process


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def same(response: httpx.Response) -> tuple[int, bytes, list[tuple[str, str]]]:
    """All that is not one answer's own."""
    return (
        response.status_code,
        response.content,
        [each for each in response.headers.items() if each[0] not in ITS_OWN | OF_ITS_BODY],
    )


BAD: dict[str, tuple[str, list[tuple[bytes, bytes]]]] = {
    "wrong": ("", [(b"authorization", f"Bearer {WRONG}".encode())]),
    "wrong-x-api-key": ("", [(b"x-api-key", WRONG.encode())]),
    "empty-bearer": ("", [(b"authorization", b"Bearer")]),
    "basic": ("", [(b"authorization", f"Basic {ALICE}".encode())]),
    "two": ("", [(b"authorization", f"Bearer {each}".encode()) for each in (ALICE, CAROL)]),
    "two-names": ("", [(b"authorization", f"Bearer {WRONG}".encode()), (b"x-api-key", ALICE.encode())]),
    "query": (f"?api_key={ALICE}&key={ALICE}&token={ALICE}", []),
    "cookie": ("", [(b"cookie", f"api_key={ALICE}".encode())]),
    "large": ("", [(b"authorization", b"Bearer " + b"x" * 30_000)]),
    "latin-1": ("", [(b"authorization", "Bearer é".encode("latin-1"))]),
    "utf-8": ("", [(b"authorization", "Bearer é".encode())]),
    "sql": ("", [(b"authorization", b"Bearer ' OR 1=1--")]),
    "prefix": ("", [(b"authorization", f"Bearer {ALICE[:-1]}".encode())]),
    "key-for-metrics": ("", [(b"authorization", f"Bearer {METRICS_KEY}".encode())]),
}


@pytest.mark.parametrize(("query", "fields"), BAD.values(), ids=BAD)
def test_A_03_everybody_without_a_key_is_told_the_same(
    gateway: GatewayProcess, query: str, fields: list[tuple[bytes, bytes]]
) -> None:
    """A bad key of any kind: none, wrong, empty, `Basic`, two of them, in the query or a cookie, 30 KB, not ASCII, SQL.

    Happens: 401, the same body and the same headers for each; no provider is asked.
    Seen: `llm_auth_attempts_total{result="refused"}` or `missing`, a line `refused` with `authentication`.
    """
    for method, path in (("POST", CHAT), ("GET", "/v1/models")):
        response = gateway.client.request(method, path + query, content=question("primary/x"), headers=fields)
        without = gateway.client.request(method, path, content=question("primary/x"))

        check_refusal(response, AUTHENTICATION)
        assert same(response) == same(without)
        (line,) = gateway.log_of(response.headers["x-request-id"])
        assert (line["event"], line["status"], line["client"]) == ("refused", "authentication", "127.0.0.1")


@pytest.mark.parametrize(
    ("key", "row"), [(b"x" * 1_000_000, HEAD_TOO_LARGE), (b"a\0b", INVALID)], ids=["a-megabyte", "a-nul"]
)
def test_A_03_what_is_no_header_is_no_key(gateway: GatewayProcess, key: bytes, row: Row) -> None:
    """A key of 1 MB, or with a NUL in it.

    Happens: 431 or 400 by the front, before anybody looks for a key; the connection is closed.
    Seen: `http_requests_total{route="unread"}` by status.
    """
    said = head(gateway.port, method="GET", path="/v1/models").removesuffix(b"\r\n")

    with Wire(gateway.port) as wire:
        with suppress(ConnectionError):  # it does not read to the end
            wire.send(said + b"Authorization: Bearer " + key + b"\r\n\r\n")
        response = wire.answer()

    check_refusal(response, row)


def test_A_05_keys_that_begin_alike_are_two_keys(gateway: GatewayProcess, provider: ProviderProcess) -> None:
    """Three keys with the same first 24 characters, two of them configured; the third is tried while the first is hot.

    Happens: the two are two callers and share no cached answer, the third is 401.
    Seen: `key` in the lines of calls.
    """
    asked = [gateway.chat("primary/alike", headers=bearer(key)) for key in (ALICE, ALICE, CAROL, LIKE_ALICE, ALICE)]

    assert [each.headers.get("x-signalbox-cache") for each in asked] == ["miss", "hit", "miss", None, "hit"]
    assert [each.status_code for each in asked] == [200, 200, 200, 401, 200]
    assert len(provider.bodies("alike")) == 2
    lines = [gateway.log_of(each.headers["x-request-id"])[0] for each in asked]
    assert [line.get("key") for line in lines] == ["alice", "alice", "carol", None, "alice"]


def declared() -> dict[Policy, set[str]]:
    """The paths of the application there is, by who may use them."""
    found: dict[Policy, set[str]] = {each: set() for each in Policy}
    for route in create_app(Container(settings=load(None, {}).settings)).routes:
        handlers = route.route_handlers if isinstance(route, HTTPRoute) else [route.route_handler]
        for handler in handlers:
            if "policy" in handler.opt:
                found[handler.opt["policy"]].add(route.path_format)
    return found


def test_A_07_every_route_asks_for_the_key_it_declares(gateway: GatewayProcess) -> None:
    """Every route of the router, asked without a key, with a wrong one, with that for metrics, with a caller's.

    Happens: 401 but for the key the route is for; that for metrics opens metrics and nothing else; what is open to all
    says no more than its status. A new open route fails this test until somebody has decided about it.
    Seen: `llm_auth_attempts_total`.
    """
    paths = declared()

    def status(path: str, key: str) -> int:
        headers = FOREIGN | (bearer(key) if key else {})
        return gateway.client.request("POST" if path in HOT else "GET", path, headers=headers).status_code

    assert paths[Policy.OPEN] == OPEN
    assert paths[Policy.INFERENCE] > HOT
    assert "/metrics" in paths[Policy.METRICS]
    for path in paths[Policy.INFERENCE]:
        assert [status(path, key) for key in ("", WRONG, METRICS_KEY)] == [401, 401, 401], path
        assert status(path, ALICE) in {200, 400, 404}, path
    for path in paths[Policy.METRICS]:
        assert [status(path, key) for key in ("", WRONG)] == [401, 401], path
        assert [status(path, key) for key in (METRICS_KEY, ALICE)] == [200, 200], path
    for path in paths[Policy.OPEN]:
        said = [gateway.client.get(path, headers=FOREIGN | bearer(key)).text for key in (WRONG, METRICS_KEY)]
        assert not [each for each in said if "127.0.0.1:" in each or '"uptime"' in each], path


def wrong(gateway: GatewayProcess, number: int) -> bytes:
    """One of many guesses, each from somewhere else by its own word."""
    forwarded = f"X-Forwarded-For: 192.0.2.{number % 250}", f"Forwarded: for=192.0.2.{number % 250}"
    return request(gateway.port, b"{}", f"Authorization: Bearer sk-guess-{number}", *forwarded)


def test_A_11_who_guesses_on_is_told_to_slow_down(provider: ProviderProcess, tmp_path: Path) -> None:
    """10,000 wrong keys as fast as they go from one address, each with another `X-Forwarded-For`.

    Happens: 401 for `server.wrong_keys_per_minute` of them and for what a minute gives back, then 429 with
    `retry-after`, for metrics too; details of health stay shut. Right keys are served from there, other addresses are
    not affected.
    Seen: all in `llm_auth_attempts_total{result="refused"}`, those too many in
    `llm_rate_limit_hits_total{scope="wrong_keys"}`; lines `refused` with `rate_limited`.
    """
    with guarded(tmp_path, provider, wrong_keys_per_minute=60) as gateway:
        begun = time.monotonic()
        answered = statuses(gateway.port, [wrong(gateway, number) for number in range(10_000)])
        seconds = time.monotonic() - begun
        mine = gateway.chat("primary/right", headers=bearer(ALICE))
        listed = gateway.client.get("/v1/models", headers={"x-api-key": CAROL})
        without = gateway.chat("primary/right")
        for _ in range(3):  # what was given back meanwhile
            late = gateway.chat("primary/right", headers=bearer(WRONG))
        scraped = gateway.client.get("/metrics", headers=FOREIGN | bearer(WRONG))
        health = gateway.client.get("/health", headers=FOREIGN | bearer(WRONG))
        transport = httpx.HTTPTransport(local_address=ANOTHER_ADDRESS)
        with httpx.Client(base_url=gateway.url, transport=transport, timeout=PATIENCE_SECONDS) as elsewhere:
            other = elsewhere.get("/v1/models", headers=bearer(WRONG))
            right = elsewhere.get("/v1/models", headers=bearer(ALICE))
        refused = gateway.metric("llm_auth_attempts_total", result="refused")
        hits = gateway.metric("llm_rate_limit_hits_total", scope="wrong_keys")

    assert answered.total() == answered[401] + answered[429] == 10_000
    assert 60 <= answered[401] <= 60 + seconds + 1
    assert (mine.status_code, listed.status_code, without.status_code) == (200, 200, 401)
    assert (other.status_code, right.status_code) == (401, 200)
    for response in (late, scraped):
        check_common(response, TOO_MANY)
        assert 1 <= int(response.headers["retry-after"]) <= 60
    assert health.status_code == 200
    assert health.json().keys() == {"status", "timestamp"}
    assert refused == 10_000 + 6
    assert answered[429] + 2 <= hits <= answered[429] + 5


def test_A_11_a_limit_of_none_is_none(gateway: GatewayProcess) -> None:
    """More wrong keys than the default allows, with `server.wrong_keys_per_minute: 0`.

    Happens: 401 for each.
    Seen: `llm_auth_attempts_total{result="refused"}`.
    """
    answered = statuses(gateway.port, [wrong(gateway, number) for number in range(500)])

    assert answered == Counter({401: 500})
    assert gateway.metric("llm_rate_limit_hits_total", scope="wrong_keys") == 0
