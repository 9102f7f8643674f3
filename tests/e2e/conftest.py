from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from tests.support.processes import GatewayProcess, ProviderProcess, gateway_process, provider_process

FAST = {"connect": 1.0, "first_byte": 1.0, "idle": 1.0, "total": 4.0, "stream_total": 4.0}
PROVIDER_KEY = "sk-provider-secret-0123456789"


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


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    """A name no other test uses, whatever module it is in."""
    readable = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[:80].strip("-")
    return f"{readable}-{sha256(request.node.nodeid.encode()).hexdigest()[:8]}"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path
