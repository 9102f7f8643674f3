"""Prometheus' own tools and servers, where they are installed."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.processes import PATIENCE_SECONDS, free_port

needs_prometheus = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")),
    reason="prometheus and promtool are not installed (Debian: prometheus)",
)
needs_alertmanager = pytest.mark.skipif(
    not (shutil.which("prometheus-alertmanager") and shutil.which("amtool")),
    reason="prometheus-alertmanager and amtool are not installed (Debian: prometheus-alertmanager)",
)


def promtool(*arguments: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    command = ["promtool", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120, check=False)


def amtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["amtool", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


class PrometheusProcess:
    """A Prometheus of the test's own; times are Unix seconds."""

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self._client = httpx.Client(base_url=f"{url}/api/v1", trust_env=False, timeout=PATIENCE_SECONDS)
        self._log = log

    def ask(self, expr: str) -> list[tuple[dict[str, str], float]]:
        """Labels and values of the instant vector `expr` is now; a scalar has no labels."""
        answer = self._client.post("/query", data={"query": expr})
        assert answer.status_code == 200, f"{expr}: {answer.text}"
        data = answer.json()["data"]
        if data["resultType"] == "scalar":
            return [({}, float(data["result"][1]))]
        return [(each["metric"], float(each["value"][1])) for each in data["result"]]

    def values(self, metric: str, *labels: str, where: str = "") -> dict[tuple[str, ...], float]:
        """The sums of `metric` by `labels`, those that are 0 left out."""
        found = self.ask(f"sum by ({', '.join(labels)}) ({metric}{{{where}}})")
        return {tuple(each[label] for label in labels): value for each, value in found if value}

    def rules(self) -> list[dict[str, Any]]:
        groups = self._client.get("/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def targets(self) -> list[dict[str, Any]]:
        return self._client.get("/targets").json()["data"]["activeTargets"]

    def wait_for(self, expr: str) -> None:
        """Until `expr` has a value."""
        deadline = time.monotonic() + 3 * PATIENCE_SECONDS
        while not self.ask(expr):
            assert time.monotonic() < deadline, f"never true: {expr}; {self.targets()}; {self.log_text()[-2000:]}"
            time.sleep(0.1)

    def wait_for_scrapes(self, times: int = 1) -> None:
        """Until every gateway was scraped so often from now on, and rules were evaluated as often."""
        for _ in range(times):
            self.wait_for(f"count(timestamp(llm_build_info) > {time.time()}) == count(up)")
            self.wait_for(f"count(timestamp(llm_build_info) > {time.time()}) == count(up)")

    def log_text(self) -> str:
        return self._log.read_text()

    def close(self) -> None:
        self._client.close()


@contextmanager
def prometheus_process(directory: Path, config: str) -> Iterator[PrometheusProcess]:
    """Prometheus with `config`, in which relative paths are looked for in `directory`."""
    file, log = directory / "prometheus.yml", directory / "prometheus.log"
    file.write_text(config)
    port = free_port()
    command = [
        "prometheus",
        f"--config.file={file}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with _server(command, log, f"http://127.0.0.1:{port}"):
        prometheus = PrometheusProcess(f"http://127.0.0.1:{port}", log)
        try:
            yield prometheus
        finally:
            prometheus.close()


@contextmanager
def alertmanager_process(directory: Path, config: Path) -> Iterator[str]:
    """Alertmanager with `config`: its URL."""
    port = free_port()
    command = [
        "prometheus-alertmanager",
        f"--config.file={config}",
        f"--storage.path={directory / 'alerts'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with _server(command, directory / "alertmanager.log", f"http://127.0.0.1:{port}"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _server(command: list[str], log: Path, url: str) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 3 * PATIENCE_SECONDS
        while not _is_ready(url):
            assert process.poll() is None, f"{command[0]} did not start: {log.read_text()}"
            assert time.monotonic() < deadline, f"{command[0]} is not ready: {log.read_text()}"
            time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
