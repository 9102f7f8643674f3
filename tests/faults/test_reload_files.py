"""Files of a configuration that go, or hold something else."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from app.watching import LOOK_SECONDS
from tests.support.processes import PATIENCE_SECONDS, ROOT, GatewayProcess, ProviderProcess, gateway_process
from tests.support.provider_faults import eventually
from tests.support.reloading import Reloading, without_watch
from tests.support.starts import PIPES, started


@contextmanager
def found_by_itself(directory: Path, text: str) -> Iterator[tuple[Path, GatewayProcess]]:
    """A gateway that was not told of its file: it lies where one is looked for."""
    file = directory / "config" / "signalbox.yaml"
    file.parent.mkdir()
    file.write_text(text)
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(directory)}
    command = [sys.executable, "-m", "app", "serve", "--port", "0"]
    with subprocess.Popen(command, cwd=directory, env=environ, **PIPES) as process:
        try:
            banner = started(process)
            port = int(banner.rsplit("listening on ", 1)[1].split(")")[0].rpartition(":")[2])
            gateway = GatewayProcess(process, port, file, banner)
            yield file, gateway
            gateway.client.close()
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)


def test_P_01_a_file_that_was_found_by_itself_and_is_gone(directory: Path, provider: ProviderProcess) -> None:
    """`config/signalbox.yaml`, which nobody has named, is taken away under the gateway, and put back.

    Happens: what ran goes on. At a start there would be defaults instead, and the demo; here the file is missing.

    Seen: `llm_config_reloads_total{result="refused"}`; the reason in `/health` names the file.
    """
    text = f"providers:\n  one:\n    base_url: {provider.base_url('one')}\n"
    with found_by_itself(directory, text) as (file, gateway):
        it = Reloading(gateway, file.parent, {})
        file.unlink()
        eventually(lambda: it.results()["refused"] == 1, "it is missed")

        assert it.reason().endswith("config/signalbox.yaml: cannot be read: it is gone")
        assert gateway.chat("one/m").status_code == 200
        file.write_text(text)
        eventually(lambda: it.results()["unchanged"] == 1, "it is found again")
        eventually(it.is_healthy, "health is well again")


@pytest.mark.slow
def test_P_01_a_link_to_itself(directory: Path, provider: ProviderProcess) -> None:
    """The file becomes a link that leads to itself, for longer than the file is looked at; then it is a file again.

    Happens: what ran goes on, and the good file is noticed without a signal.

    Seen: one log line with the reason, one that the file is only looked at from time to time.
    """
    text = f"providers:\n  one:\n    base_url: {provider.base_url('one')}\n"
    with found_by_itself(directory, text) as (file, gateway):
        it = Reloading(gateway, file.parent, {})
        file.unlink()
        file.symlink_to(file)
        eventually(lambda: it.results()["refused"] == 1, "it is noticed")
        time.sleep(1.5 * LOOK_SECONDS)
        file.unlink()
        file.write_text(text)
        eventually(lambda: it.results()["unchanged"] == 1, "it is a file again")

        assert it.results()["refused"] == 1
        gateway.process.terminate()
        out, _ = gateway.process.communicate()
    events = [json.loads(line)["event"] for line in out.splitlines()]
    assert events.count("the configuration file is only looked at from time to time") == 1
    assert not [each for each in events if each.endswith("failed; restarting")]


def test_P_02_authorities_that_are_renewed(directory: Path) -> None:
    """The file of a provider's authorities is written anew under the same name; then it goes, and another is named.

    Happens: on SIGHUP the authorities are read again, and the other file is taken though the first is gone.

    Seen: the log line names `providers.one.ca_file` each time.
    """

    def config(name: str) -> dict[str, Any]:
        trustme.CA().cert_pem.write_to_path(str(directory / name))
        return without_watch({"providers": {"one": row | {"ca_file": str(directory / name)}}})

    row = {"base_url": "https://127.0.0.1:1", "models": ["m"]}
    first = config("first.pem")
    with gateway_process(directory, first) as gateway:
        it = Reloading(gateway, directory, first)
        assert it.take(first) == "unchanged"

        assert it.take(config("first.pem")) == "applied"

        (directory / "first.pem").unlink()
        assert it.take(config("second.pem")) == "applied"
        assert [line["changed"] for line in it.lines("configuration taken")] == [["providers.one.ca_file"]] * 2
        assert len(it.lines("configuration unchanged")) == 1
