"""TLS that ends here: who speaks it is served as ever, and who does not costs nothing."""

import http.client
import json
import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest
import trustme

from tests.support.failures import AUTHENTICATION, INVALID, check_refusal
from tests.support.processes import PATIENCE_SECONDS, ROOT, GatewayProcess, gateway_process
from tests.support.raw import head

pytestmark = pytest.mark.e2e

KEY = "sk-alice-1234567890"
HOLDER = {"authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def trust(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture(scope="module")
def gateway(
    authority: trustme.CA, trust: ssl.SSLContext, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    with gateway_with_tls(tmp_path_factory.mktemp("tls"), authority, trust) as process:
        yield process


def gateway_with_tls(
    directory: Path, authority: trustme.CA, trust: ssl.SSLContext
) -> AbstractContextManager[GatewayProcess]:
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(directory / "both.pem")
    config = {"server": {"header_seconds": 2, "body_seconds": 4}, "metrics": {"port": 0}}
    environ = {"SIGNALBOX__SERVER__TLS_CERTIFICATE": str(directory / "both.pem"), "SIGNALBOX_API_KEYS": f"alice={KEY}"}
    return gateway_process(directory, config, environ=environ, trust=trust)


def wrapped(gateway: GatewayProcess, trust: ssl.SSLContext) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", gateway.port), PATIENCE_SECONDS)
    return trust.wrap_socket(plain, server_hostname="127.0.0.1")


def test_calls_and_streams_are_served(gateway: GatewayProcess) -> None:
    whole = gateway.chat("demo", headers=HOLDER)
    stream = gateway.chat("demo", headers=HOLDER, stream=True)

    assert whole.json()["choices"][0]["message"]["content"]
    assert stream.text.endswith("data: [DONE]\n\n")


def test_metrics_have_tls_on_their_own_port_too(gateway: GatewayProcess, trust: ssl.SSLContext) -> None:
    found = re.search(r"^  metrics +(https://\S+/metrics)$", gateway.banner, re.MULTILINE)

    assert found is not None
    assert "llm_requests_total" in httpx.get(found[1], verify=trust, trust_env=False).text


def test_the_banner_says_where(gateway: GatewayProcess) -> None:
    assert f"address    https://127.0.0.1:{gateway.port}/v1" in gateway.banner
    assert f"curl https://127.0.0.1:{gateway.port}/v1" in gateway.banner


def test_http_1_1_over_tls_1_2_or_newer_is_agreed_on(gateway: GatewayProcess, authority: trustme.CA) -> None:
    for newest in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = ssl.create_default_context()
        authority.configure_trust(context)
        context.set_alpn_protocols(["h2", "http/1.1"])
        context.maximum_version = newest
        with wrapped(gateway, context) as wire:
            assert (wire.version(), wire.selected_alpn_protocol()) == (newest.name.replace("_", "."), "http/1.1")


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01", head(1, method="GET", path="/health/live")])
def test_who_speaks_no_tls_is_closed_on_and_told_nothing(gateway: GatewayProcess, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), PATIENCE_SECONDS) as wire:
        wire.sendall(sent)
        try:
            said = wire.recv(1024)
        except ConnectionResetError:
            said = b""

    assert b"HTTP/" not in said
    assert gateway.chat("demo", headers=HOLDER).status_code == 200
    assert not [line for line in gateway.log() if line["level"] not in {"info", "debug"}]


def test_what_is_garbled_is_refused_and_the_connection_ended(gateway: GatewayProcess, trust: ssl.SSLContext) -> None:
    with wrapped(gateway, trust) as wire, wire.makefile("rb") as answer:
        wire.sendall(b"garbage\r\n\r\n")

        assert answer.readline().startswith(b"HTTP/1.1 400 ")
        rest = answer.read()

    assert INVALID.word.encode() in rest


def test_who_has_no_key_is_told_so_however_much_it_sends(gateway: GatewayProcess) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 2**20

    response = gateway.client.post("/v1/chat/completions", content=pieces())

    check_refusal(response, AUTHENTICATION)
    assert response.headers["connection"] == "close"


def test_healthcheck_finds_its_own_gateway(gateway: GatewayProcess, directory: Path) -> None:
    environ = {"PATH": "", "HOME": str(directory), "PYTHONPATH": str(ROOT)}
    certificate = next(Path(gateway.process.args[-1]).parent.glob("*.pem"))  # type: ignore[index,arg-type] # a list
    own = environ | {"SIGNALBOX__SERVER__TLS_CERTIFICATE": str(certificate), "PORT": str(gateway.port)}
    command = [sys.executable, "-m", "app", "healthcheck"]

    found = subprocess.run(command, env=own, cwd=directory, capture_output=True, text=True, check=False)
    strict = subprocess.run(
        [*command, "--url", gateway.url], env=environ, cwd=directory, capture_output=True, text=True, check=False
    )

    assert (found.returncode, found.stdout) == (0, "ok\n")
    assert strict.returncode == 1
    assert "certificate verify failed" in strict.stderr


def test_a_last_answer_is_whole_however_late_its_caller_begins_to_read(
    authority: trustme.CA, trust: ssl.SSLContext, tmp_path: Path
) -> None:
    body = json.dumps({"model": "demo", "input": ["a"] * 60_000}).encode()
    fields = f"Authorization: {HOLDER['authorization']}", "Connection: close", f"Content-Length: {len(body)}"

    with gateway_with_tls(tmp_path, authority, trust) as gateway, socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        plain.connect(("127.0.0.1", gateway.port))
        with trust.wrap_socket(plain, server_hostname="127.0.0.1") as wire, wire.makefile("rb") as answer:
            wire.sendall(head(gateway.port, *fields, path="/v1/embeddings") + body)
            time.sleep(4)  # longer than goodbyes are waited for, shorter than server.write_stall_seconds
            assert answer.readline() == b"HTTP/1.1 200 OK\r\n"
            length = int(http.client.parse_headers(answer)["content-length"])
            assert length > 8 * 2**20  # more than kernels hold
            assert len(answer.read()) == length
