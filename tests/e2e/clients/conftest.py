from collections.abc import Iterator

import pytest

from tests.e2e.clients.support import CALLER_KEY
from tests.e2e.conftest import FAST, PROVIDER_KEY
from tests.support.processes import GatewayProcess, ProviderProcess, gateway_process


@pytest.fixture(scope="session")
def keyed(provider: ProviderProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that wants `CALLER_KEY`, tries nothing twice and leaves nobody alone: the client tries again."""
    config = {
        "keys": {"tester": {"key": CALLER_KEY}},
        "providers": {"primary": {"base_url": provider.base_url("primary"), "api_key": PROVIDER_KEY, "timeouts": FAST}},
        "retry": {"max_retries": 0},
        "breaker": {"failures": 0},
    }
    with gateway_process(tmp_path_factory.mktemp("keyed"), config) as process:
        yield process


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients read proxies and their own settings from the environment."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE", "OPENAI_ORG_ID", "OPENAI_PROXY"):
        monkeypatch.delenv(name, raising=False)
