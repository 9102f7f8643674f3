"""Who has no key, and who pretends: the same answer by whatever spelling, and none costs more than its head."""

import re
from collections.abc import Iterator
from functools import cache

import pytest

from app.container import Container
from app.controllers import Policy
from app.main import create_app
from app.settings import KeySettings, Secret, Settings
from tests.support.failures import (
    AUTHENTICATION,
    CHAT,
    INVALID,
    check_common,
    check_refusal,
    counted,
    peak_bytes,
    question,
)
from tests.support.processes import GatewayProcess, gateway_process
from tests.support.raw import Wire, head

pytestmark = pytest.mark.e2e

KEY = "sk-alice-1234567890"
WRONG = "Authorization: Bearer sk-mallory-5566778899"
MIB = 2**20


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    config = {"metrics": {"port": 0}, "server": {"body_seconds": 10}}
    environ = {"SIGNALBOX_API_KEYS": f"alice={KEY}"}
    with gateway_process(tmp_path_factory.mktemp("guarded"), config, environ=environ) as process:
        yield process


@pytest.fixture(scope="module")
def unguarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with gateway_process(tmp_path_factory.mktemp("unguarded")) as process:
        yield process


@cache
def routes() -> list[tuple[str, str, Policy]]:
    """Method, path and policy of every handler there is."""
    app = create_app(Container(settings=Settings(keys={"alice": KeySettings(key=Secret(KEY))})))
    handlers = [
        (route.path, handler)
        for route in app.routes
        for handler in getattr(route, "route_handlers", None) or [route.route_handler]  # type: ignore[union-attr] # raw
    ]
    return sorted(
        (method, re.sub(r"\{.*?\}", "x", path), Policy(handler.opt["policy"]))
        for path, handler in handlers
        for method in (getattr(handler, "http_methods", None) or {"POST"}) - {"OPTIONS"}
    )


def spellings(path: str) -> list[str]:
    """The same path, for some reader or other."""
    first = path[1:2]
    return [
        path,
        f"/{path}",
        f"//{path}",
        f"{path}/",
        f"{path}//",
        f"/.{path}",
        f"/x/..{path}",
        f"/%2e{path}",
        f"/%2e%2e{path}",
        f"/%{ord(first or '/'):02x}{path[2:]}",
        path.replace("/", "%2f"),
        path.replace("/", "/%2f"),
        f"{path};x",
        f"{path};x=y/",
        f"{path}%00",
        f"{path}%20",
        f"{path}?",
        f"{path}/.",
        f"{path}#",
        path.upper(),
        path.replace("/", "\\"),
        f"http://evil.test{path}",
        f"http://127.0.0.1/{path}",
    ]


def ports(gateway: GatewayProcess) -> list[int]:
    (aside,) = re.findall(r"^  metrics +http\S+:(\d+)/metrics$", gateway.banner, re.MULTILINE)
    return [gateway.port, int(aside)]


def answered(port: int, method: str, path: str, *fields: str, host: str | None = None) -> int:
    body = question("demo")
    with Wire(port) as wire:
        wire.send(head(port, f"Content-Length: {len(body)}", *fields, method=method, path=path, host=host) + body)
        return int(wire.line().split()[1])


@pytest.mark.parametrize(
    ("host", "more"),
    [
        pytest.param("", [], id="none"),
        pytest.param("", ["Host:"], id="empty"),
        pytest.param(None, ["Host: 127.0.0.1"], id="two"),
        pytest.param("127.0.0.1", ["Host: 127.0.0.1"], id="same-twice"),
        pytest.param("a/x?y=", [], id="path"),
        pytest.param("user@127.0.0.1", [], id="user"),
        pytest.param("127.0.0.1#", [], id="fragment"),
        pytest.param("127.0.0.1 evil.test", [], id="space"),
        pytest.param("[::1", [], id="bracket"),
    ],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/health/live", "/nothing"])
@pytest.mark.parametrize("keys", ["with", "without"])
def test_H_10_a_host_that_is_none(  # noqa: PLR0913, PLR0917 - what a request has to do with
    guarded: GatewayProcess, unguarded: GatewayProcess, host: str | None, more: list[str], path: str, keys: str
) -> None:
    """No `Host`, two of them, or one with more in it than a name and a port; with keys and without, on any path.

    Happens: 400.

    Seen: `llm_visitors_refused_total{reason="host"}`, a line `refused` with `invalid_request`.
    """
    gateway = guarded if keys == "with" else unguarded
    before = gateway.metric("llm_visitors_refused_total", reason="host")
    fields = [f"Authorization: Bearer {KEY}", "Content-Length: 0", *more]

    with counted(gateway, INVALID, method=None), Wire(gateway.port) as wire:
        wire.send(head(gateway.port, *fields, method="POST" if path == CHAT else "GET", path=path, host=host))
        response = wire.answer()

    check_refusal(response, INVALID)
    assert gateway.metric("llm_visitors_refused_total", reason="host") == before + 1


@pytest.mark.parametrize(
    "host", ["evil.test", "localhost.evil.test", "127.0.0.1.evil.test", "0.0.0.0"]  # noqa: S104 - a browser would reach us by it
)  # fmt: skip # the reason would stand apart
@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/nothing"])
def test_H_10_a_foreign_host_where_there_are_no_keys(unguarded: GatewayProcess, host: str, path: str) -> None:
    """A foreign name that leads to this machine, `X-Forwarded-Host` naming a good one, HTTP/1.0 and 1.1.

    Happens: 400; what is forwarded is never read.

    Seen: `llm_visitors_refused_total{reason="host"}`.
    """
    fields = ["Content-Length: 0", "X-Forwarded-Host: localhost", "Forwarded: host=localhost"]
    whole = head(unguarded.port, *fields, method="POST" if path == CHAT else "GET", path=path, host=host)

    for sent in (whole, whole.replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n")):
        with counted(unguarded, INVALID, method=None), Wire(unguarded.port) as wire:
            wire.send(sent)
            check_refusal(wire.answer(), INVALID)


def test_H_11_a_path_in_other_letters(guarded: GatewayProcess) -> None:
    """Every route that is not public, without a key: doubled slashes, dots, `%` codes, `;x`, `%00`, whole URLs.

    Happens: 400, 401, 404 or 405 by every spelling, never 200: the handler is guarded, not its path.

    Seen: `llm_auth_attempts_total{result="missing"}` where the spelling leads to a handler.
    """
    wanted = [(method, path) for method, path, policy in routes() if policy is Policy.INFERENCE]
    assert len(wanted) >= 4

    for method, path in wanted:
        for each in spellings(path):
            assert answered(guarded.port, method, each) in {400, 401, 403, 404, 405}, each
        assert answered(guarded.port, method, path) == 401
    assert answered(guarded.port, "GET", "//v1/models/", f"X-API-Key: {KEY}") == 200


def test_A_07_every_route_of_every_listener(guarded: GatewayProcess) -> None:
    """Every route of the router, on every port we listen on, without a key and by a foreign name.

    Happens: each declares a policy, or the start stops; only what declares itself open answers 200.

    Seen: the table of routes and policies is the application's own: a new route is in this test at once.
    """
    wanted = routes()
    assert {policy for _, _, policy in wanted} == set(Policy)

    for port in ports(guarded):
        for method, path, policy in wanted:
            for each in [path, f"/{path}", f"{path}/", f"/%{ord(path[1:2] or '/'):02x}{path[2:]}"]:
                status = answered(port, method, each, host="elsewhere.test")
                if policy is not Policy.OPEN:
                    assert status in {401, 404}, (port, method, each)
                if port != guarded.port and policy is not Policy.METRICS:
                    assert status == 404, (port, method, each)


@pytest.mark.parametrize("fields", [[], [WRONG]], ids=["no-key", "wrong-key"])
def test_H_14_a_body_that_waits_to_be_asked_for(guarded: GatewayProcess, fields: list[str]) -> None:
    """`Expect: 100-continue` without a right key.

    Happens: 401 without a `100`, and the connection ends: the body is never asked for.

    Seen: `llm_auth_attempts_total{result="missing"}` or `refused`.
    """
    with counted(guarded, AUTHENTICATION), Wire(guarded.port) as wire:
        wire.send(head(guarded.port, "Content-Length: 100", "Expect: 100-continue", *fields))
        first = wire.line()
        response = wire.answer(first)

        assert wire.is_closed()
    assert first == b"HTTP/1.1 401 Unauthorized"
    check_refusal(response, AUTHENTICATION)
    assert response.headers["connection"] == "close"


@pytest.mark.parametrize("chunked", [False, True], ids=["whole", "chunked"])
@pytest.mark.parametrize("path", [CHAT, "/v1/nothing"])
def test_B_01_a_large_body_without_a_key(guarded: GatewayProcess, path: str, *, chunked: bool) -> None:
    """100 MB without a key, from a client that reads nothing before all is sent.

    Happens: 401 (404 where there is nothing) from the head alone; the body is read and forgotten for
    `server.body_seconds` at most, so that the answer is not lost by a reset.

    Seen: `llm_auth_attempts_total{result="missing"}`; `process_resident_memory_bytes` stays where it was.
    """
    before = peak_bytes(guarded)
    piece = b"%x\r\n%b\r\n" % (MIB, b"x" * MIB) if chunked else b"x" * MIB
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {100 * MIB}"

    with Wire(guarded.port) as wire:
        wire.send(head(guarded.port, length, path=path))
        for _ in range(100):
            wire.send(piece)
        response = wire.answer()

        assert wire.is_closed()
    assert response.status_code == (401 if path == CHAT else 404)
    assert response.headers["connection"] == "close"
    assert peak_bytes(guarded) - before < 15 * MIB
    if path == CHAT:
        check_common(response, AUTHENTICATION)
