"""The command line, as processes."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import gateway_process

ROOT = Path(__file__).parents[2]


def signalbox(*arguments: str, cwd: Path, **environ: str) -> "subprocess.CompletedProcess[str]":
    clean = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(cwd)} | environ
    command = [sys.executable, "-m", "app", *arguments]
    return subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, timeout=30, check=False)


def test_version_says_what_runs(tmp_path: Path) -> None:
    done = signalbox("version", cwd=tmp_path)

    assert done.returncode == 0
    assert done.stdout.startswith("signalbox 0.")


def test_check_shows_every_value_its_origin_and_no_secret(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "signalbox.yaml").write_text("cache: {ttl_seconds: 5}")

    done = signalbox("check", cwd=tmp_path, OPENAI_API_KEY="sk-very-secret")

    lines = {line.split()[0]: line.split() for line in done.stdout.splitlines()}
    assert done.returncode == 0
    assert lines["cache.ttl_seconds"][1:] == ["5.0", "config/signalbox.yaml"]
    assert lines["providers.openai.api_key"][1:] == ["***", "environment", "OPENAI_API_KEY"]
    assert lines["server.port"][1:] == ["12434", "default"]
    assert "sk-very-secret" not in done.stdout + done.stderr


def test_check_names_the_path_that_is_wrong_and_where_it_came_from(tmp_path: Path) -> None:
    done = signalbox("check", cwd=tmp_path, SIGNALBOX__CACHE__TTL="5")

    assert done.returncode == 1
    assert "cache.ttl: is not a setting (from environment SIGNALBOX__CACHE__TTL)" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_names_every_mistake_of_its_kind_at_once(tmp_path: Path) -> None:
    file = tmp_path / "signalbox.yaml"
    file.write_text(
        "server: {port: no, prot: 1}\ncache: {ttl_seconds: 5m}\nnothing: {}\n"
        "providers:\n  a: {base_url: 5, models: {}}\n  b: x\n"
    )

    done = signalbox("check", "--config", str(file), cwd=tmp_path)

    assert done.returncode == 1
    assert [line.removeprefix("signalbox: ").partition(" (")[0] for line in done.stderr.splitlines()] == [
        "server.port: must be a whole number, and is true or false",
        "server.prot: is not a setting; did you mean port?",
        "cache.ttl_seconds: must be a number, and is a text",
        "providers.a.base_url: must be a text, and is a whole number",
        "providers.a.models: must be a list, and is a mapping of settings",
        "providers.b: must be a mapping of settings, and is a text",
        "nothing: is no section of the configuration",
    ]
    assert all(f"{file}:" in line for line in done.stderr.splitlines()[:-1])


def test_healthcheck_fails_where_nobody_answers(tmp_path: Path) -> None:
    done = signalbox("healthcheck", "--url", "http://127.0.0.1:1", cwd=tmp_path)

    assert done.returncode == 1
    assert "no answer" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["serve", "check"])
def test_listening_beyond_this_machine_without_keys_is_refused(tmp_path: Path, command: str) -> None:
    done = signalbox(command, cwd=tmp_path, HOST="0.0.0.0")  # noqa: S104 - that is what is refused

    assert done.returncode == 1
    assert "SIGNALBOX_API_KEYS=name=key" in done.stderr


@pytest.mark.parametrize(
    ("file", "why"),
    [("file/log", "Not a directory"), (".", "Is a directory"), ("pipe", "No such device or address")],
)
def test_a_log_file_that_cannot_be_written_is_told_in_one_sentence(tmp_path: Path, file: str, why: str) -> None:
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe")

    done = signalbox("serve", "--port", "0", cwd=tmp_path, LOG_FILE=str(tmp_path / file))

    assert done.returncode == 1
    assert done.stderr == f"signalbox: cannot write the log file {tmp_path / file}: {why}\n"
    assert done.stdout == ""


def test_so_is_a_directory_nobody_may_write_in(tmp_path: Path) -> None:
    done = signalbox("serve", "--port", "0", cwd=tmp_path, LOG_FILE="/sys/signalbox.log")

    assert done.returncode == 1
    assert done.stderr.startswith("signalbox: cannot write the log file /sys/signalbox.log: ")
    assert len(done.stderr.splitlines()) == 1


def test_check_says_what_debug_does(tmp_path: Path) -> None:
    on = signalbox("check", cwd=tmp_path, DEBUG="true")
    off = signalbox("check", cwd=tmp_path, DEBUG="true", LOG_LEVEL="INFO")

    def level(done: "subprocess.CompletedProcess[str]") -> list[str]:
        return next(line.split()[1:] for line in done.stdout.splitlines() if line.startswith("log.level"))

    assert level(on) == ["debug", "environment", "DEBUG"]
    assert level(off) == ["info", "environment", "LOG_LEVEL"]
    assert off.stderr == "note: DEBUG does not count: the level is from environment LOG_LEVEL\n"


def test_a_port_that_is_taken_is_told_in_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = signalbox("serve", "--port", str(taken.getsockname()[1]), cwd=tmp_path)

    assert done.returncode == 1
    assert "cannot listen on 127.0.0.1" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_extra_that_is_needed_and_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").touch()  # hides the real one
    path = f"{tmp_path}{os.pathsep}{ROOT}"

    done = signalbox("check", cwd=tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT="http://x:4318", PYTHONPATH=path)

    assert done.returncode == 1
    assert "telemetry.endpoint: needs two more packages: pip install 'signalbox[otel]', or make otel" in done.stderr
    assert "(from environment OTEL_EXPORTER_OTLP_ENDPOINT)" in done.stderr


@pytest.mark.parametrize("text", ["server: {port", "nothing: {}", "server: {tls_certificate: gone.pem}"])
def test_healthcheck_finds_a_gateway_that_runs_on_though_its_file_is_broken(tmp_path: Path, text: str) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text(text)
    with gateway_process(tmp_path) as gateway:
        found = signalbox("healthcheck", "--config", str(broken), cwd=tmp_path, PORT=str(gateway.port))
    gone = signalbox("healthcheck", "--config", str(broken), cwd=tmp_path, PORT=str(gateway.port))

    assert (found.returncode, found.stdout) == (0, "ok\n")
    assert found.stderr.startswith("note: ")
    assert gone.returncode == 1
    assert gone.stderr == found.stderr.replace("note: ", "signalbox: ")
