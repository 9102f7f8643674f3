"""A gateway with keys serves who holds one, tells everybody else the same, and keeps callers apart."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import PROVIDER_KEY
from tests.support.failures import AUTHENTICATION, CHAT, check_refusal, counted, question
from tests.support.processes import GatewayProcess, ProviderProcess, gateway_process
from tests.support.raw import Wire, head

pytestmark = pytest.mark.e2e

ALICE = "sk-alice-0123456789abcdef"
BOB = "sk-bob-fedcba9876543210"
METRICS_KEY = "sk-metrics-0011223344"
WRONG = "sk-mallory-5566778899"

Fields = list[tuple[bytes, bytes]]


@pytest.fixture(scope="module")
def guarded(provider: ProviderProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    config = {
        "providers": {"primary": {"base_url": provider.base_url("primary"), "api_key": PROVIDER_KEY}},
        "health": {"public_details": False},
        "metrics": {"key": METRICS_KEY},
        "server": {"wrong_keys_per_minute": 0},
    }
    environ = {"SIGNALBOX_API_KEYS": f"alice={ALICE},bob={BOB}"}
    with gateway_process(tmp_path_factory.mktemp("guarded"), config, environ=environ) as process:
        yield process


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


REFUSED: dict[str, Fields] = {
    "no-key": [],
    "wrong-key": [(b"authorization", f"Bearer {WRONG}".encode())],
    "wrong-x-api-key": [(b"x-api-key", WRONG.encode())],
    "wrong-header": [(b"x-auth", ALICE.encode())],
    "basic": [(b"authorization", f"Basic {ALICE}".encode())],
    "no-scheme": [(b"authorization", ALICE.encode())],
    "empty": [(b"authorization", b"")],
    "empty-bearer": [(b"authorization", b"Bearer")],
    "prefix": [(b"authorization", f"Bearer {ALICE[:-1]}".encode())],
    "longer": [(b"authorization", f"Bearer {ALICE}x".encode())],
    "name": [(b"authorization", b"Bearer alice")],
    "pair": [(b"authorization", f"Bearer alice={ALICE}".encode())],
    "other-case": [(b"authorization", f"Bearer {ALICE.upper()}".encode())],
    "both-keys": [(b"authorization", f"Bearer {ALICE},{BOB}".encode())],
    "large": [(b"authorization", b"Bearer " + b"x" * 20_000)],
    "large-with-a-key": [(b"authorization", f"Bearer {ALICE}".encode() + b"x" * 20_000)],
    "not-ascii": [(b"authorization", b"Bearer sk-\xff\xfe\xc3\xa4")],
    "key-of-the-provider": [(b"authorization", f"Bearer {PROVIDER_KEY}".encode())],
    "key-for-metrics": [(b"authorization", f"Bearer {METRICS_KEY}".encode())],
    "twice": [(b"authorization", f"Bearer {ALICE}".encode()), (b"authorization", f"Bearer {ALICE}".encode())],
    "twice-x-api-key": [(b"x-api-key", ALICE.encode()), (b"x-api-key", BOB.encode())],
}


@pytest.mark.parametrize("fields", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize(("method", "path"), [("POST", CHAT), ("GET", "/v1/models")], ids=["chat", "models"])
def test_who_brings_no_key_is_refused(guarded: GatewayProcess, fields: Fields, method: str, path: str) -> None:
    with counted(guarded, AUTHENTICATION, method=method, route=path):
        response = guarded.client.request(method, path, content=question("primary/x"), headers=fields)

    check_refusal(response, AUTHENTICATION)
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {ALICE}"},
        {"authorization": f"bearer {ALICE}"},
        {"authorization": f"BEARER   {ALICE}"},
        {"x-api-key": ALICE},
        {"X-API-Key": BOB},
    ],
    ids=["bearer", "lower-case", "blanks", "x-api-key", "bob"],
)
def test_who_brings_a_key_is_served(guarded: GatewayProcess, model: str, headers: dict[str, str]) -> None:
    answer = guarded.chat(f"primary/{model}", headers=headers)
    models = guarded.client.get("/v1/models", headers=headers)

    assert answer.status_code == 200
    assert [each["id"] for each in models.json()["data"]] == ["primary-model"]


def test_a_key_is_for_us_and_not_for_the_provider(
    guarded: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    guarded.chat(f"primary/{model}", headers=bearer(ALICE) | {"x-api-key": BOB})

    (asked,) = provider.seen(model)["requests"]
    assert asked["headers"]["authorization"] == f"Bearer {PROVIDER_KEY}"
    assert not [key for key in (ALICE, BOB) if key in json.dumps(asked)]


@pytest.mark.parametrize("body", [b"{", b"", b"\xff"], ids=["malformed", "empty", "not-utf-8"])
def test_a_key_is_asked_for_before_the_body_is_judged(guarded: GatewayProcess, body: bytes) -> None:
    with counted(guarded, AUTHENTICATION):
        response = guarded.client.post(CHAT, content=body, headers=bearer(WRONG))

    check_refusal(response, AUTHENTICATION)


def test_a_key_is_asked_for_before_the_body_is_read(guarded: GatewayProcess) -> None:
    fields = "Content-Length: 100000000", "Expect: 100-continue", f"Authorization: Bearer {WRONG}"

    with counted(guarded, AUTHENTICATION), Wire(guarded.port) as wire:
        wire.send(head(guarded.port, *fields))
        first = wire.line()
        response = wire.answer(first)

    assert first == b"HTTP/1.1 401 Unauthorized"
    check_refusal(response, AUTHENTICATION)


def test_a_key_behind_the_body_comes_too_late(guarded: GatewayProcess) -> None:
    trailer = f"Authorization: Bearer {ALICE}\r\n".encode()

    with counted(guarded, AUTHENTICATION), Wire(guarded.port) as wire:
        wire.send(head(guarded.port, "Transfer-Encoding: chunked") + b"2\r\n{}\r\n0\r\n" + trailer + b"\r\n")
        response = wire.answer()

    check_refusal(response, AUTHENTICATION)


def test_a_foreign_host_is_served_with_a_key_only(guarded: GatewayProcess, model: str) -> None:
    host = {"host": "gateway.test"}

    with_key = guarded.chat(f"primary/{model}", headers=host | bearer(ALICE))
    without = guarded.chat(f"primary/{model}", headers=host)

    assert (with_key.status_code, without.status_code) == (200, 401)


def test_callers_do_not_share_what_is_stored(guarded: GatewayProcess, provider: ProviderProcess, model: str) -> None:
    def ask(key: str) -> str:
        return guarded.chat(f"primary/{model}", headers=bearer(key)).headers["x-signalbox-cache"]

    seen = [ask(ALICE), ask(ALICE), ask(BOB), ask(BOB), ask(ALICE)]

    assert seen == ["miss", "hit", "miss", "hit", "hit"]
    assert len(provider.bodies(model)) == 2


def test_details_of_health_need_a_key(guarded: GatewayProcess) -> None:
    public, wrong, full = (
        guarded.client.get("/health", headers=headers).json() for headers in ({}, bearer(WRONG), bearer(ALICE))
    )

    assert public.keys() == wrong.keys() == {"status", "timestamp"}
    assert {public["status"], full["status"]} <= {"ok", "degraded"}
    assert {"version", "uptime", "providers", "checks"} <= full.keys()


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/livez", "/readyz"])
def test_probes_need_no_key(guarded: GatewayProcess, path: str) -> None:
    response = guarded.client.get(path)

    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_metrics_are_open_on_this_machine(guarded: GatewayProcess) -> None:
    response = guarded.client.get("/metrics")

    assert response.status_code == 200
    assert "llm_build_info" in response.text


def test_no_key_is_written_down(guarded: GatewayProcess, model: str) -> None:
    served: list[httpx.Response] = [
        guarded.chat(f"primary/{model}", headers=headers)
        for headers in (bearer(ALICE), {"x-api-key": BOB}, bearer(WRONG), {"authorization": f"Basic {WRONG}"})
    ]

    lines: list[dict[str, Any]] = [guarded.log_of(each.headers["x-request-id"])[0] for each in served]
    assert [line.get("key") for line in lines] == ["alice", "bob", None, None]
    assert [line["status"] for line in lines] == ["ok", "ok", "authentication", "authentication"]
    written = guarded.log_text() + guarded.banner + guarded.client.get("/metrics").text
    assert not [key for key in (ALICE, BOB, WRONG, METRICS_KEY, PROVIDER_KEY) if key in written]
