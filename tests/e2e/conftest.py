from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from tests.support.processes import GatewayProcess, ProviderProcess, gateway_process, provider_process

FAST = {"connect": 1.0, "first_byte": 1.0, "idle": 1.0, "total": 4.0, "stream_total": 4.0}
PROVIDER_KEY = "sk-provider-secret-0123456789"
EVERYWHERE = ("--host", "0.0.0.0")  # noqa: S104 - what is tested here
KEY = "sk-alice-0123456789abcdef"
METRICS_KEY = "sk-metrics-0011223344"


@pytest.fixture(scope="session")
def provider() -> Iterator[ProviderProcess]:
    with provider_process() as process:
        yield process


@pytest.fixture(scope="session", params=["lean", "httpx"])
def gateway(
    request: pytest.FixtureRequest, provider: ProviderProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """A gateway with two providers, `primary` and `backup`, that are one scripted process; with each upstream client.

    Any model is reached as `primary/<model>`; impatient, so that what times out does so soon. It is asked whatever it
    does, and asked again: tests make it fail as often as they like.
    """
    rows = {
        name: {
            "base_url": provider.base_url(name),
            "api_key": PROVIDER_KEY,
            "timeouts": FAST,
            "upstream": request.param,
        }
        for name in ("primary", "backup")
    }
    config = {
        "providers": rows,
        "routes": {"both": ["primary:both-first", "backup:both-second"]},
        "retry": {"backoff_seconds": 0.01, "max_wait_seconds": 2.0, "budget_per_second": 1000},
        "breaker": {"failures": 0},
        "server": {"max_body_bytes": 1_000_000, "header_seconds": 2, "body_seconds": 2},
    }
    with gateway_process(tmp_path_factory.mktemp("gateway"), config) as process:
        yield process


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that others may reach, with a key for callers and one for metrics."""
    config = {"metrics": {"key": METRICS_KEY}}
    environ = {"SIGNALBOX_API_KEYS": f"alice={KEY}"}
    directory = tmp_path_factory.mktemp("exposed")
    with gateway_process(directory, config, environ=environ, arguments=EVERYWHERE) as process:
        yield process


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    """A name no other test uses, whatever module it is in."""
    readable = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[:80].strip("-")
    return f"{readable}-{sha256(request.node.nodeid.encode()).hexdigest()[:8]}"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path
