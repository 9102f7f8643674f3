"""Starting where much is missing, and being looked into."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import PROVIDER_KEY
from tests.support.processes import (
    PATIENCE_SECONDS,
    ROOT,
    ProviderProcess,
    free_port,
    gateway_process,
)
from tests.support.provider_faults import eventually
from tests.support.starts import PIPES, run, started

CLEAN = 0
READER = [f"--{kind}-caps=+dac_read_search" for kind in ("inh", "ambient")]


NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *READER, "--"]


def can_be_nobody() -> bool:
    try:
        return subprocess.run([*NOBODY, sys.executable, "-c", ""], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("127.0.0.1", "Address already in use"),
        ("::1", "Address already in use"),
        ("192.0.2.1", "annot assign requested address"),
        ("no.such.host.invalid", ""),
    ],
)
def test_P_13_an_address_it_cannot_have(directory: Path, host: str, why: str) -> None:
    """It is told to listen where somebody else does, IPv4 or IPv6, or where this machine has no address.

    Happens: it does not start.

    Seen: one line on standard error with address, setting and reason; exit status 1.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as taken:
        try:
            taken.bind((host, 0))
            taken.listen()
            port = taken.getsockname()[1]
        except OSError:
            port = free_port()
        ended = run(directory, "--host", host, "--port", str(port), "--insecure-allow-unauthenticated")

    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"signalbox: cannot listen on {host}:{port} (server.port): ")
    assert why in line
    assert ended.stdout == ""


def test_P_13_an_address_of_IPv6(directory: Path) -> None:
    """It is told to listen on the loopback address of IPv6 alone.

    Happens: it serves there.

    Seen: the banner's address is in brackets.
    """
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(directory)}
    command = [sys.executable, "-m", "app", "serve", "--host", "::1", "--port", "0"]
    with subprocess.Popen(command, cwd=directory, env=environ, **PIPES) as it:
        said = started(it, "[::1]")
        it.send_signal(signal.SIGTERM)
        it.wait(PATIENCE_SECONDS)

    assert "address    http://[::1]:" in said
    assert it.returncode == CLEAN


@pytest.mark.parametrize("sig", [signal.SIGUSR1, signal.SIGQUIT])
def test_P_15_a_look_into_a_process(directory: Path, provider: ProviderProcess, sig: signal.Signals) -> None:
    """SIGUSR1 or SIGQUIT to a gateway that has served a call with a key.

    Happens: it tells what every thread is doing, and goes on; there is no core file.

    Seen: stacks on standard error: functions, files and lines, no value and so no secret.
    """
    rows = {"primary": {"base_url": provider.base_url("primary"), "api_key": PROVIDER_KEY}}
    config = {"providers": rows, "keys": {"me": {"key": "k-very-secret"}}}
    with gateway_process(directory, config) as gateway:
        gateway.chat("primary/well", headers={"authorization": "Bearer k-very-secret"})
        gateway.process.send_signal(sig)
        eventually(lambda: "app/__main__.py" in (directory / "err").read_text(), "the stacks are there")
        said = (directory / "err").read_text()

        assert "app/server.py" in said
        assert not [secret for secret in (PROVIDER_KEY, "k-very-secret") if secret in said]
        assert gateway.stop() == CLEAN
    assert not list(directory.glob("core*"))


def test_P_17_a_container_with_next_to_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    """It is started as a user without a name and without HOME, in a directory it may not write, with 64 descriptors.

    Happens: it starts, serves and stops: it needs nothing but its code and its address.

    Seen: the usual banner; exit status 0.
    """
    if not can_be_nobody():
        pytest.skip("it takes root with CAP_DAC_READ_SEARCH, and util-linux")
    directory = tmp_path_factory.mktemp("bare")
    directory.chmod(0o555)
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TMPDIR": "/nonexistent"}
    command = ["prlimit", "--nofile=64:64", *NOBODY, sys.executable, "-m", "app", "serve", "--port", "0"]
    with subprocess.Popen(command, cwd=directory, env=environ, **PIPES) as it:
        port = int(started(it).rsplit("listening on ", 1)[1].split(")")[0].rpartition(":")[2])
        body = {"model": "demo", "messages": [{"role": "user", "content": "hi"}]}
        answers = [httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=body, trust_env=False)]
        answers.append(httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False))
        answers.append(httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False))
        it.send_signal(signal.SIGTERM)
        it.communicate(timeout=PATIENCE_SECONDS)

    assert [each.status_code for each in answers] == [200, 200, 200]
    assert it.returncode == CLEAN
