"""What the description says of keys and refusals; whether answers keep to it is asked in tests/fuzz."""

from collections.abc import Iterator
from typing import Any

from litestar.testing import TestClient

from app.container import Container
from app.domain.errors import GatewayError
from app.main import create_app
from app.settings import KeySettings, MetricsSettings, Secret, ServerSettings, Settings

KEYED = {"alice": KeySettings(key=Secret("sk-alice"))}
EITHER_KEY = [{"bearer": []}, {"header": []}]


def description(**settings: Any) -> dict[str, Any]:
    app = create_app(Container(settings=Settings(**settings)))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        return client.get("/openapi.json", headers={"host": "127.0.0.1"}).json()


def security(**settings: Any) -> list[Any]:
    """Of a call, of health, of metrics."""
    paths = description(**settings)["paths"]
    asked = [paths["/v1/chat/completions"]["post"], paths["/health"]["get"], paths["/metrics"]["get"]]
    return [each["security"] for each in asked]


def test_a_gateway_without_keys_asks_for_none() -> None:
    assert security() == [[], [], [{}, *EITHER_KEY]]


def test_keys_are_needed_for_calls_and_open_more_elsewhere() -> None:
    assert security(keys=KEYED) == [EITHER_KEY, [{}, *EITHER_KEY], [{}, *EITHER_KEY]]


def test_metrics_need_a_key_where_others_reach_them() -> None:
    everywhere = ServerSettings(host="0.0.0.0")  # noqa: S104 - nothing listens

    assert security(keys=KEYED, server=everywhere)[2] == EITHER_KEY
    assert security(keys=KEYED, server=everywhere, metrics=MetricsSettings(public=True))[2] == [{}, *EITHER_KEY]


def test_refusals_are_described_in_the_dialect_of_their_path() -> None:
    paths = description()["paths"]

    def fields(path: str, method: str = "get") -> set[str]:
        answer = paths[path][method]["responses"]["400"]["content"]["application/json"]
        return set(answer["schema"]["properties"])

    assert fields("/v1/chat/completions", "post") == {"error"}
    assert fields("/monitoring/health") == {"statusCode", "message", "error"}
    assert fields("/api/usage") == {"detail", "error"}
    assert "content" not in paths["/metrics"]["head"]["responses"]["200"]


def test_every_status_of_ours_is_described_of_a_call() -> None:
    responses = description()["paths"]["/v1/chat/completions"]["post"]["responses"]

    def classes(root: type[GatewayError]) -> Iterator[type[GatewayError]]:
        yield root
        for each in root.__subclasses__():
            yield from classes(each)

    statuses = {each.status_code for each in classes(GatewayError)}
    assert statuses - {405, 499} <= {int(status) for status in responses if status.isdigit()}
