"""Real processes on loopback sockets: a scripted provider, the gateway itself, a Redis server."""

import base64
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import msgspec

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 20.0


class ProviderProcess:
    """`tests.support.provider` in another process, and how a test speaks to it."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._client = httpx.Client(base_url=self.url, trust_env=False)

    def base_url(self, row: str) -> str:
        return f"{self.url}/{row}/v1"

    def script(self, model: str, *answers: Sequence[Mapping[str, Any]]) -> None:
        """What `model` answers, one list of steps after the other, the last one for ever."""
        self._client.post(f"/_script/{quote(model, safe='')}", content=json.dumps(answers)).raise_for_status()

    def seen(self, model: str) -> dict[str, Any]:
        """`requests` (method, path, headers, body), `left` (how often a caller hung up in mid-answer), `sent`."""
        return self._client.get(f"/_seen/{quote(model, safe='')}").json()

    def open(self, model: str) -> None:
        """Let `model` pass the gates in its script."""
        self._client.post(f"/_open/{quote(model, safe='')}").raise_for_status()

    def bodies(self, model: str) -> list[dict[str, Any]]:
        return [json.loads(each["body"]) for each in self.seen(model)["requests"]]

    def close(self) -> None:
        self._client.close()


def send(data: bytes) -> dict[str, str]:
    return {"send": base64.b64encode(data).decode()}


def answer(
    body: bytes | dict[str, Any], *, status: str = "200 OK", headers: Mapping[str, str] | None = None
) -> list[dict[str, str]]:
    """A whole answer as one step; `headers` may name another content type."""
    if isinstance(body, dict):
        body = json.dumps(body).encode()
    fields = {"content-type": "application/json"} | dict(headers or {}) | {"content-length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return [send(f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body)]


def stream(*pieces: bytes | dict[str, Any], end: bool = True) -> list[dict[str, Any]]:
    """A chunked event stream: bytes are sent as one chunk each, dicts are steps; `end` ends the body properly."""
    steps: list[dict[str, Any]] = [
        send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    ]
    steps += [send(b"%x\r\n%b\r\n" % (len(each), each)) if isinstance(each, bytes) else each for each in pieces]
    return [*steps, send(b"0\r\n\r\n")] if end else steps


def event(text: str, finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}
    return b"data: " + json.dumps({"choices": [choice]}, separators=(",", ":")).encode() + b"\n\n"


@contextmanager
def provider_process() -> Iterator[ProviderProcess]:
    command = [sys.executable, "-m", "tests.support.provider"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        provider = ProviderProcess(int(process.stdout.readline()))
        try:
            yield provider
        finally:
            provider.close()
            process.terminate()


def told(directory: Path, command: str, made: str, variables: Mapping[str, str]) -> str:
    """The exit status of a command and what it says on both its ways out; `made` is its configuration file."""
    (directory / "signalbox.yaml").write_text(made)
    clean = {"PATH": os.environ["PATH"], "HOME": str(directory), "PYTHONPATH": str(ROOT)} | dict(variables)
    ended = subprocess.run(
        [sys.executable, "-m", "app", command, "--config", "signalbox.yaml"],
        cwd=directory,
        env=clean,
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE_SECONDS,
        check=False,
    )
    return f"{ended.returncode} {ended.stdout}{ended.stderr}"


class GatewayProcess:
    """`signalbox serve` as users start it; `client` is a plain HTTP client at its address."""

    def __init__(
        self, process: subprocess.Popen[bytes], port: int, log: Path, banner: str, trust: ssl.SSLContext | None = None
    ) -> None:
        self.process = process
        self.port = port
        self.url = f"{'https' if trust else 'http'}://127.0.0.1:{port}"
        self.banner = banner
        self.client = httpx.Client(
            base_url=self.url, trust_env=False, timeout=PATIENCE_SECONDS, verify=trust if trust else True
        )
        self._log = log

    def chat(self, model: str, **fields: Any) -> httpx.Response:
        headers = fields.pop("headers", None)
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}]} | fields
        return self.client.post("/v1/chat/completions", json=body, headers=headers)

    def metric(self, name: str, **labels: str) -> float:
        """The value of one sample, 0 where it was never counted."""
        wanted = {f'{label}="{value}"' for label, value in labels.items()}
        for line in self.client.get("/metrics").text.splitlines():
            sample, _, value = line.rpartition(" ")
            found, _, rest = sample.partition("{")
            if found == name and set(rest.rstrip("}").split(",")) - {""} == wanted:
                return float(value)
        return 0.0

    def log(self) -> list[dict[str, Any]]:
        """The lines of its log, parsed; calls are written within a tenth of a second."""
        time.sleep(0.2)
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def log_of(self, request_id: str) -> list[dict[str, Any]]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (found := [line for line in self.log() if line.get("request_id") == request_id]):
            assert time.monotonic() < deadline, f"no log line for {request_id}"
        return found

    def log_text(self) -> str:
        return self._log.read_text()

    def stop(self, sig: int = signal.SIGTERM) -> int:
        self.client.close()
        self.process.send_signal(sig)
        return self.process.wait(PATIENCE_SECONDS)


@contextmanager
def gateway_process(  # noqa: PLR0913 - how users start it
    directory: Path,
    config: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
    trust: ssl.SSLContext | None = None,
    stdin: int | None = None,
    files: int | None = None,
) -> Iterator[GatewayProcess]:
    """A gateway with `config` as its file and nothing of our own environment but what it needs to run.

    With `trust` it is spoken to over TLS; `files` are what it may have open from the start.
    """
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "signalbox.yaml"
    file.write_bytes(msgspec.yaml.encode(dict(config or {})))
    log, err = directory / "log", directory / "err"
    command = [sys.executable, "-m", "app", "serve", "--port", "0", "--config", str(file), *arguments]
    if files is not None:
        command = ["sh", "-c", f'ulimit -n {files} && exec "$@"', "sh", *command]
    clean = {"PATH": os.environ["PATH"], "HOME": str(directory), "PYTHONPATH": str(ROOT)} | dict(environ or {})
    with log.open("wb") as out, err.open("wb") as errors:
        process = subprocess.Popen(command, cwd=directory, env=clean, stdin=stdin, stdout=out, stderr=errors)
    try:
        banner = _wait_for_banner(process, err, log)
        port = int(banner.split("listening on ")[1].split(")")[0].rpartition(":")[2])
        gateway = GatewayProcess(process, port, log, banner, trust)
        try:
            _wait_until_live(gateway)
            yield gateway
        finally:
            gateway.client.close()
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for_banner(process: subprocess.Popen[bytes], err: Path, log: Path) -> str:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while "  try " not in (text := err.read_text()):
        assert process.poll() is None, f"the gateway did not start: {text}\n{log.read_text()}"
        assert time.monotonic() < deadline, f"no banner in time: {text}"
        time.sleep(0.02)
    return text


def _wait_until_live(gateway: GatewayProcess) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            if gateway.client.get("/health/live").status_code == 200:
                return
        except httpx.HTTPError:
            pass
        assert time.monotonic() < deadline, "the gateway is not live in time"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def redis_server() -> str | None:
    return shutil.which("redis-server")


@contextmanager
def redis_process(directory: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A Redis server of the test's own on a free port: the process and its URL."""
    port = free_port()
    command = [str(redis_server()), "--port", str(port), "--save", "", "--dir", str(directory), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "Redis did not start in time"
                time.sleep(0.02)
        yield process, f"redis://127.0.0.1:{port}/0"
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()
