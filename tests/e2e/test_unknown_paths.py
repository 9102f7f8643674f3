"""A path that nobody answers is refused in the words of the dialect it belongs to."""

from typing import Any

import pytest

from tests.support.failures import NOT_FOUND, check_common, check_refusal, counted
from tests.support.processes import GatewayProcess

pytestmark = pytest.mark.e2e

TEXT = "there is nothing at this path"


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/chat/completions/nothing", "/nothing", "/dashboard/nothing"])
def test_openai_is_spoken_where_no_other_dialect_is(gateway: GatewayProcess, method: str, path: str) -> None:
    with counted(gateway, NOT_FOUND, method=method, route="unmatched"):
        response = gateway.client.request(method, path)

    check_refusal(response, NOT_FOUND)
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/nothing", {"error": TEXT}),
        *((f"/api/{name}/nothing", {"error": TEXT}) for name in ("chat", "generate", "embed", "tags", "ps", "show")),
        *(
            (f"/api/{name}", {"detail": TEXT, "error": TEXT})
            for name in (
                "usage/nothing",
                "usage-stream/nothing",
                "token_counts/nothing",
                "stats/nothing",
                "config/nothing",
                "aggregate_time_series_days/nothing",
                "ps_details/nothing",
                "cache/nothing",
            )
        ),
        ("/api/v1/llm/nothing", {"statusCode": 404, "message": TEXT, "error": "Not Found"}),
        ("/monitoring/nothing", {"statusCode": 404, "message": TEXT, "error": "Not Found"}),
        *(
            (
                path,
                {"error": {"message": TEXT, "type": "invalid_request_error", "code": "not_found", "details": {}}},
            )
            for path in ("/v1/analytics/nothing", "/user/stats/nothing", "/providers/nothing")
        ),
        ("/runner/api/nothing", {"error": "not_found", "message": TEXT}),
    ],
)
def test_an_unknown_path_is_refused_in_its_own_dialect(
    gateway: GatewayProcess, path: str, body: dict[str, Any]
) -> None:
    with counted(gateway, NOT_FOUND, method="POST", route="unmatched"):
        response = gateway.client.post(path)

    check_common(response, NOT_FOUND)
    assert response.headers["content-type"] == "application/json"
    assert response.json() == body


@pytest.mark.parametrize("path", ["/v1/messages/nothing", "/v1/messages/batches/nothing"])
def test_an_unknown_path_of_anthropic_is_refused_with_the_request_id(gateway: GatewayProcess, path: str) -> None:
    with counted(gateway, NOT_FOUND, method="POST", route="unmatched"):
        response = gateway.client.post(path)

    check_common(response, NOT_FOUND)
    error = {"type": "not_found_error", "message": TEXT}
    assert response.json() == {
        "type": "error",
        "error": error,
        "request_id": response.headers["x-request-id"],
    }


def test_an_unknown_path_of_administration_is_a_problem(gateway: GatewayProcess) -> None:
    with counted(gateway, NOT_FOUND, method="GET", route="unmatched"):
        response = gateway.client.get("/admin/nothing")

    check_common(response, NOT_FOUND)
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json() == {"type": "about:blank", "title": "Not Found", "status": 404, "detail": TEXT}


def test_a_path_does_not_become_a_label(gateway: GatewayProcess, model: str) -> None:
    gateway.client.get(f"/v1/{model}")

    assert model not in gateway.client.get("/metrics").text


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/embeddings/", "/v1/embeddings"),
        ("/models", "/v1/models"),
    ],
)
def test_who_nearly_had_it_is_told(gateway: GatewayProcess, path: str, meant: str) -> None:
    response = gateway.client.post(path)

    assert response.status_code == 404
    assert response.json()["error"]["message"] == f"{TEXT}; did you mean {meant}?"
