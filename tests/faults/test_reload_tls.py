"""A certificate that is renewed under a running gateway."""

import re
import socket
import ssl
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from app.watching import LOOK_SECONDS
from tests.support.processes import PATIENCE_SECONDS, GatewayProcess, gateway_process
from tests.support.provider_faults import eventually
from tests.support.reloading import Reloading, without_watch

pytestmark = pytest.mark.e2e


def write(directory: Path, certificate: trustme.LeafCert, key: trustme.LeafCert | None = None) -> bytes:
    """The pair in its two files; what is to be seen of it."""
    certificate.cert_chain_pems[0].write_to_path(str(directory / "chain.pem"))
    (key or certificate).private_key_pem.write_to_path(str(directory / "key.pem"))
    return ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode())


def configured(directory: Path) -> dict[str, Any]:
    files = {"tls_certificate": str(directory / "chain.pem"), "tls_key": str(directory / "key.pem")}
    return without_watch({"server": files, "metrics": {"port": 0}})


def wrapped(port: int, trust: ssl.SSLContext) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
    return trust.wrap_socket(plain, server_hostname="127.0.0.1")


def shown(gateway: GatewayProcess, trust: ssl.SSLContext) -> set[bytes | None]:
    """The certificates on its ports."""
    beside = re.search(r"^  metrics +https://\S+:(\d+)/", gateway.banner, re.MULTILINE)
    assert beside is not None
    found = set()
    for port in (gateway.port, int(beside[1])):
        with wrapped(port, trust) as wire:
            found.add(wire.getpeercert(binary_form=True))
    return found


def ends(gateway: GatewayProcess) -> tuple[float, str]:
    """When the certificate does, and what health says of it."""
    check = gateway.client.get("/health").json()["checks"]["certificate"]
    return gateway.metric("http_certificate_expiry_timestamp_seconds"), check["status"]


def status(wire: ssl.SSLSocket) -> bytes:
    """Of a request on a connection that is kept."""
    wire.sendall(b"HEAD /health/live HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
    received = b""
    while not received.endswith(b"\r\n\r\n"):
        received += (piece := wire.recv(4096))
        assert piece, "the connection is kept"
    return received.split()[1]


def test_P_02_a_certificate_that_is_renewed(directory: Path) -> None:
    """The files of certificate and key are written anew under the same names, first with a pair that does not fit; in
    the end others are named, and then none.

    Happens: a pair that does not fit changes nothing; the new one is shown on every port from SIGHUP on, and
    connections that are kept go on. Other names count at once too; that there is to be no TLS waits for a restart.

    Seen: the log line names `server.tls_certificate`; the refusal tells like any other, in log, metric and health.
    `http_certificate_expiry_timestamp_seconds` is of the one that is shown, and the health check `certificate` degraded
    in its last two weeks, with the alert `CertificateEndsSoon`.
    """
    authority = trustme.CA()
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    soon, late = (datetime.now(UTC).replace(microsecond=0) + timedelta(days=days) for days in (3, 60))
    first, second = (authority.issue_cert("127.0.0.1", not_after=each) for each in (soon, late))
    before, config = write(directory, first), configured(directory)
    with gateway_process(directory, config, trust=trust) as gateway, wrapped(gateway.port, trust) as kept:
        it = Reloading(gateway, directory, config)
        assert status(kept) == b"200"
        assert ends(gateway) == (soon.timestamp(), "degraded")
        assert it.take(config) == "unchanged"

        write(directory, second, first)
        assert it.take(config) == "refused"
        assert "key.pem is not the key of server.tls_certificate" in it.reason()
        assert gateway.metric("llm_config_last_reload_successful") == 0
        assert shown(gateway, trust) == {before}
        assert ends(gateway) == (soon.timestamp(), "degraded")

        after = write(directory, second)
        assert it.take(config) == "applied"
        assert it.lines("configuration taken")[-1]["changed"] == ["server.tls_certificate"]
        assert gateway.metric("llm_config_last_reload_successful") == 1
        assert shown(gateway, trust) == {after}
        assert ends(gateway) == (late.timestamp(), "healthy")
        assert status(kept) == b"200"

        (directory / "elsewhere").mkdir()
        last = write(directory / "elsewhere", first)
        assert it.take(configured(directory / "elsewhere")) == "applied"
        assert shown(gateway, trust) == {last}

        assert it.take(without_watch({"metrics": {"port": 0}})) == "partly"
        (line,) = it.lines("settings wait for a restart")
        assert line["settings"] == ["server.tls_certificate", "server.tls_key"]
        assert shown(gateway, trust) == {last}


@pytest.mark.slow
def test_P_02_a_certificate_that_is_renewed_without_a_word(directory: Path) -> None:
    """The files of certificate and key are written anew, one after the other, and nobody sends a signal.

    Happens: the new one is shown within seconds, and asked for once.

    Seen: as after SIGHUP; the log line has `asked_by: a renewed certificate`.
    """
    authority = trustme.CA()
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    first, second = (authority.issue_cert("127.0.0.1") for _ in range(2))
    before = write(directory, first)
    config = configured(directory)
    config["server"]["watch_config"] = True
    with gateway_process(directory, config, trust=trust) as gateway:
        assert shown(gateway, trust) == {before}

        after = write(directory, second)
        eventually(lambda: shown(gateway, trust) == {after}, "it is shown")
        time.sleep(2 * LOOK_SECONDS)

    (line,) = [line for line in gateway.log() if line["event"] == "configuration taken"]
    assert (line["asked_by"], line["changed"]) == ("a renewed certificate", ["server.tls_certificate"])
