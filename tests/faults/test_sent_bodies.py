"""Bodies that are good, and want more than they may: what is sent is what was checked."""

import json
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import PROVIDER_KEY
from tests.support.failures import CHAT, question
from tests.support.processes import GatewayProcess, ProviderProcess, gateway_process

pytestmark = pytest.mark.e2e


LIMIT = 10 * 2**20
MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def gateway(provider: ProviderProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    rows = {name: {"base_url": provider.base_url(name), "api_key": PROVIDER_KEY} for name in ("primary", "backup")}
    with gateway_process(tmp_path_factory.mktemp("sent"), {"providers": rows}) as process:
        yield process


def test_B_03_a_body_that_is_deep_and_good(gateway: GatewayProcess, provider: ProviderProcess) -> None:
    """A tool's schema of 200 levels.

    Happens: it is sent as it came.

    Seen: an ordinary call.
    """
    schema: dict[str, object] = {"type": "string"}
    for _ in range(200):
        schema = {"type": "object", "properties": {"a": schema}}
    tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]

    response = gateway.chat("primary/deep-tools", tools=tools)

    assert response.status_code == 200
    assert provider.bodies("deep-tools")[0]["tools"] == tools


def test_B_13_a_hundred_thousand_messages(gateway: GatewayProcess, provider: ProviderProcess) -> None:
    """100,000 messages in 9 MB.

    Happens: they are sent as they came; of each field only where it ends is looked at.

    Seen: `llm_event_loop_lag_seconds`, `llm_overhead_seconds{phase="parse"}`.
    """
    messages = [{"role": "user", "content": "x" * 60}] * 100_000
    body = question("primary/many-messages", messages=messages)
    assert 9_000_000 < len(body) < LIMIT

    response = gateway.client.post(CHAT, content=body)

    assert response.status_code == 200
    assert len(provider.bodies("many-messages")[0]["messages"]) == 100_000


def test_B_14_fields_that_other_gateways_obey(gateway: GatewayProcess, provider: ProviderProcess) -> None:
    """`api_base`, `api_key`, `custom_llm_provider`, `metadata.tags`, `no-log`, `user_config`, `fallbacks` in a body.

    Happens: they change neither target nor key nor logging; the provider gets them as any field we have never heard of.

    Seen: the call's line in the log, with the provider that was configured.
    """
    wishes = {
        "api_base": "http://127.0.0.1:1/v1",
        "base_url": "http://127.0.0.1:1/v1",
        "api_key": "sk-mallory-5566778899",
        "custom_llm_provider": "backup",
        "provider": {"order": ["backup"]},
        "metadata": {"tags": ["backup"], "user_api_key": "alice"},
        "no-log": True,
        "user_config": {"model_list": []},
        "fallbacks": ["backup/other"],
    }

    response = gateway.chat("primary/wishes", headers={"x-request-id": "wishes-1"}, **wishes)

    assert (response.status_code, response.headers["x-signalbox-provider"]) == (200, "primary")
    (sent,) = provider.seen("wishes")["requests"]
    assert sent["path"].startswith("/primary/v1/")
    assert PROVIDER_KEY in json.dumps(sent["headers"])
    assert "mallory" not in json.dumps(sent["headers"])
    assert json.loads(sent["body"]) == {"model": "wishes", "messages": MESSAGES} | wishes
    (line,) = gateway.log_of("wishes-1")
    assert (line["event"], line["provider"], line["key"]) == ("call", "primary", "anonymous")


def test_B_14_a_field_twice(gateway: GatewayProcess, provider: ProviderProcess) -> None:
    """One key twice in a body: one value to be checked, the other to be sent.

    Happens: of both the last one counts, is checked and is the only one sent.

    Seen: the call's line names the model that was sent.
    """
    twice = '"model":"backup/other","model":"primary/said-twice","stream":true,"stream":false,"x":"first","x":"last"'
    body = '{"messages":[{"role":"user","content":"first"}],%s,"messages":[]}' % twice  # noqa: UP031 - braces

    response = gateway.client.post(CHAT, content=body)

    assert response.headers["content-type"] == "application/json"
    (sent,) = provider.seen("said-twice")["requests"]
    assert json.loads(sent["body"]) == {"messages": [], "model": "said-twice", "stream": False, "x": "last"}
    assert [sent["body"].count(f'"{key}"') for key in ("messages", "model", "stream", "x")] == [1, 1, 1, 1]
    assert "first" not in sent["body"]
