"""The examples of docs/custom-metrics.md, installed and run as they are printed."""

import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.support.processes import PATIENCE_SECONDS, ROOT, free_port, gateway_process

pytestmark = pytest.mark.e2e

DOCUMENT = (ROOT / "docs" / "custom-metrics.md").read_text()


def example(language: str, having: str) -> str:
    (found,) = [each for each in re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL) if having in each]
    return str(found)


def install(site: Path, code: str) -> dict[str, str]:
    """A package as pip leaves it, with the entry point of the document; the environment that finds it."""
    declared = tomllib.loads(example("toml", "entry-points"))["project"]["entry-points"]
    ((group, points),) = declared.items()
    lines = [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    info = site / "shop_metrics-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shop-metrics\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("\n".join(lines))
    (site / "shop_metrics.py").write_text(code)
    return {"PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}


def until(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not there():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.05)


def test_the_plugin_of_the_document_is_scraped(directory: Path) -> None:
    environ = install(directory / "site", example("python", "def register"))
    orders = directory / "orders"
    orders.mkdir()
    for number in range(3):
        (orders / f"{number}.json").touch()

    with gateway_process(directory, environ=environ) as gateway:
        until(lambda: gateway.metric("shop_looks_total") >= 1)

        assert gateway.metric("shop_orders_waiting", shop="north") == 3
        assert gateway.metric("llm_metric_series", family="shop_orders_waiting") == 1
        assert gateway.chat("demo").status_code == 200


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def register(metrics): metrics.counter('llm_mine', 'Mine')", "'llm_mine' begins with llm_, which is taken"),
        ("def register(metrics): metrics.counter('shop', 'Shop', ['user'])", "the label 'user' has the word 'user'"),
        ("import not_there", "ModuleNotFoundError: No module named 'not_there'"),
    ],
)
def test_a_plugin_that_breaks_a_rule_stops_the_start(directory: Path, code: str, said: str) -> None:
    environ = {"PATH": os.environ["PATH"], "HOME": str(directory)} | install(directory / "site", code)

    ended = subprocess.run(
        [sys.executable, "-m", "app", "serve", "--port", "0"],
        cwd=directory,
        env=environ,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )

    assert ended.returncode == 1
    assert ended.stderr.startswith("signalbox: the plugin shop: ")
    assert said in ended.stderr
    assert ended.stderr.rstrip().endswith("(from shop-metrics 1.0)")
    assert "Traceback" not in ended.stderr


def test_a_program_that_serves_the_gateway_counts_beside_it(directory: Path) -> None:
    """The first two examples come first: what they declare needs no container."""
    port = free_port()
    around = example("python", "uvicorn").replace("12434", str(port))
    script = directory / "shop.py"
    script.write_text(example("python", "packing") + example("python", "request_counter") + around)
    environ = {"PATH": os.environ["PATH"], "HOME": str(directory), "PYTHONPATH": str(ROOT)}
    with (
        (directory / "out").open("wb") as out,
        subprocess.Popen([sys.executable, str(script)], cwd=directory, env=environ, stdout=out, stderr=out) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        try:
            until(lambda: process.poll() is not None or _answers(client))
            text = client.get("/metrics").text
        finally:
            process.terminate()

    for sample in (
        "shop_starts_total 1",
        'shop_orders_total{shop="north"} 4',
        "shop_orders_waiting 11",
        'shop_packing_duration_seconds_sum{shop="north"} 41.5',
        'custom_requests_total{provider="openai",model="gpt-4"} 1',
        'custom_response_time_seconds_sum{endpoint="/chat/completions"} 0.5',
    ):
        assert sample in text.splitlines()


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health/live").status_code == 200
    except httpx.TransportError:
        return False
