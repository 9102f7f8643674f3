"""A page whose origin is listed may call from a browser; another one may not even ask whether it may."""

from collections.abc import Iterator

import pytest

from tests.support.processes import GatewayProcess, ProviderProcess, gateway_process

pytestmark = pytest.mark.e2e

OURS = "https://app.example"


@pytest.fixture(scope="module")
def open_to_pages(provider: ProviderProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    config = {
        "providers": {"primary": {"base_url": provider.base_url("primary")}},
        "cors": {"origins": [f"{OURS}/"]},
    }
    with gateway_process(tmp_path_factory.mktemp("browsers"), config) as process:
        yield process


def preflight(gateway: GatewayProcess, origin: str) -> "dict[str, str] | int":
    headers = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    response = gateway.client.options("/v1/chat/completions", headers=headers)
    return dict(response.headers) if response.is_success else response.status_code


def test_a_listed_page_is_let_in_by_its_preflight(open_to_pages: GatewayProcess) -> None:
    headers = preflight(open_to_pages, OURS)

    assert isinstance(headers, dict)
    assert headers["access-control-allow-origin"] == OURS
    assert "POST" in headers["access-control-allow-methods"]


def test_another_page_is_not(open_to_pages: GatewayProcess) -> None:
    assert preflight(open_to_pages, "https://evil.example") == 403


@pytest.mark.parametrize("streaming", [False, True])
def test_a_listed_page_may_read_the_answer_and_its_headers(
    open_to_pages: GatewayProcess,
    model: str,
    *,
    streaming: bool,
) -> None:
    labels = {"method": "POST", "route": "/v1/chat/completions", "status": "200"}
    before = open_to_pages.metric("http_requests_total", **labels)

    response = open_to_pages.chat(f"primary/{model}", stream=streaming, headers={"origin": OURS})

    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == OURS
    assert "x-signalbox-cache" in response.headers["access-control-expose-headers"]
    assert len(response.headers.get_list("x-request-id")) == 1
    assert open_to_pages.metric("http_requests_total", **labels) == before + 1


def test_another_page_may_not(open_to_pages: GatewayProcess, provider: ProviderProcess, model: str) -> None:
    response = open_to_pages.chat(f"primary/{model}", headers={"origin": "https://evil.example"})

    assert (response.status_code, response.json()["error"]["code"]) == (403, "permission_denied")
    assert "access-control-allow-origin" not in response.headers
    assert provider.seen(model)["requests"] == []
