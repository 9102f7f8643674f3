"""What Ollama says of itself."""

import json

import pytest

from app.domain.redaction import Redactor
from app.providers.openai_compatible import OllamaProvider
from app.providers.upstream.base import Answer
from app.settings import ProviderSettings


class Upstream:
    """As far as a ping looks at one."""

    def __init__(self, version: str) -> None:
        self.body = json.dumps({"version": version}).encode()

    async def send(self, method: str, path: str) -> Answer:
        assert (method, path) == ("GET", "api/version")
        return Answer(200, [], self.body)


@pytest.mark.parametrize("version", ["0.5.1", "0.12.0-rc1+cuda.12", "v" * 32])
async def test_a_version_is_told(version: str) -> None:
    assert await ping(version) == version


@pytest.mark.parametrize("version", ["", "v" * 33, "0.5 1", "0.5\n", '0.5"', "0.5\u0661", "x" * 100_000])
async def test_other_text_is_no_version(version: str) -> None:
    assert await ping(version) == ""


async def ping(version: str) -> str:
    row = ProviderSettings(base_url="http://127.0.0.1:9/v1", kind="ollama")
    upstream = Upstream(version)
    made = OllamaProvider(name="one", row=row, upstream=upstream, redact=Redactor([]))  # type: ignore[arg-type] # a stand-in
    return await made.ping()
