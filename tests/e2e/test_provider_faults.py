"""Whatever a provider does instead of answering is told in one vocabulary, counted, and survived."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from typing import Any, NamedTuple

import pytest

from tests.e2e.conftest import PROVIDER_KEY
from tests.support.processes import GatewayProcess, ProviderProcess, answer, free_port, gateway_process, send
from tests.support.provider_faults import (
    ABORT,
    CLOSE,
    GATE,
    HANG,
    assert_failed,
    eventually,
    refusal,
)

pytestmark = pytest.mark.e2e

MIB = 2**20
HTML = {"content-type": "text/html"}
GZIP = bytes.fromhex("1f8b08000000000002ffabae050043bfa6a302000000")


class Fault(NamedTuple):
    steps: list[Any]
    status: int
    word: str
    tries: int = 1


def long_answer(*fields: str) -> list[dict[str, Any]]:
    head = "".join(f"{field}\r\n" for field in ("HTTP/1.1 200 OK", "content-type: application/json", *fields))
    megabyte = send(b" " * MIB)["send"]
    return [send(head.encode() + b"\r\n"), {"repeat": megabyte, "every": 0}]


FAULTS = {
    "401": Fault(refusal("401 Unauthorized"), 502, "upstream_auth"),
    "402": Fault(refusal("402 Payment Required"), 502, "upstream_auth"),
    "403": Fault(refusal("403 Forbidden"), 502, "upstream_auth"),
    "408": Fault(refusal("408 Request Timeout"), 504, "upstream_timeout"),
    "425": Fault(refusal("425 Too Early"), 504, "upstream_timeout"),
    "429": Fault(refusal("429 Too Many Requests"), 429, "upstream_rate_limited"),
    "500": Fault(refusal("500 Internal Server Error"), 502, "upstream_error", tries=3),
    "501": Fault(refusal("501 Not Implemented"), 502, "upstream_error"),
    "502": Fault(refusal("502 Bad Gateway"), 502, "upstream_error", tries=3),
    "503": Fault(refusal("503 Service Unavailable"), 502, "upstream_error", tries=3),
    "504": Fault(refusal("504 Gateway Timeout"), 504, "upstream_timeout"),
    "529": Fault(refusal("529 Overloaded"), 502, "upstream_error", tries=3),
    "301": Fault(answer(b"", status="301 Moved", headers={"location": "/elsewhere"}), 502, "upstream_malformed"),
    "html with 500": Fault(answer(b"<html>", status="500 Oops", headers=HTML), 502, "upstream_error", tries=3),
    "cut in mid-answer": Fault(
        [send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"), CLOSE], 502, "upstream_truncated"
    ),
    "error with 200": Fault(answer({"error": {"message": "busy"}}), 502, "upstream_error"),
    "error 429 with 200": Fault(answer({"error": {"code": 429, "message": "slow"}}), 429, "upstream_rate_limited"),
    "error 403 with 200": Fault(answer({"error": {"code": 403, "message": "flagged"}}), 502, "upstream_auth"),
    "error 502 with 200": Fault(answer({"error": {"code": 502, "message": "down"}}), 502, "upstream_error"),
    "choices null": Fault(answer({"choices": None}), 502, "upstream_malformed"),
    "gzip": Fault(answer(GZIP, headers={"content-encoding": "gzip"}), 502, "upstream_malformed"),
    "no HTTP": Fault([send(b"220 mail.example.com ESMTP\r\n\r\n"), CLOSE], 502, "upstream_malformed"),
    "too long, as it says": Fault(long_answer(f"content-length: {64 * MIB}"), 502, "upstream_malformed"),
    "too long, unsaid": Fault(long_answer("connection: close"), 502, "upstream_malformed"),
    "silent in mid-answer": Fault(
        [send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"), HANG], 504, "upstream_timeout"
    ),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_failure_is_told_in_our_words_and_counted(
    gateway: GatewayProcess, provider: ProviderProcess, model: str, fault: Fault
) -> None:
    labels = {"provider": "primary", "error_type": fault.word}
    failed = gateway.metric("llm_provider_errors_total", **labels)
    settled = gateway.metric("llm_requests_total", provider="primary", status="error")
    provider.script(model, fault.steps)

    response = gateway.chat(f"primary/{model}")

    assert_failed(response, fault.status, fault.word, tries=fault.tries)
    assert "retry-after" not in response.headers
    assert len(provider.seen(model)["requests"]) == fault.tries
    assert gateway.metric("llm_provider_errors_total", **labels) == failed + fault.tries
    assert gateway.metric("llm_requests_total", provider="primary", status="error") == settled + 1
    (line,) = gateway.log_of(response.headers["x-request-id"])
    assert (line["status"], line["attempts"]) == (fault.word, response.headers["x-signalbox-attempts"])
    assert gateway.client.get("/health/live").status_code == 200
    assert gateway.chat(f"primary/{model}-after").status_code == 200


@pytest.mark.parametrize("fields", [("content-length: 67108864",), ("connection: close",)])
def test_an_answer_that_is_too_long_is_not_read_to_its_end(
    gateway: GatewayProcess, provider: ProviderProcess, model: str, fields: tuple[str]
) -> None:
    provider.script(model, long_answer(*fields))

    gateway.chat(f"primary/{model}")

    eventually(lambda: provider.seen(model)["left"] == 1, "the provider is hung up on")


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "409 Conflict", "413 Too Large", "422 No"])
def test_what_the_caller_did_wrong_is_told_in_the_providers_words(
    gateway: GatewayProcess, provider: ProviderProcess, model: str, status: str
) -> None:
    labels = {"provider": "primary", "error_type": "upstream_rejected"}
    before = gateway.metric("llm_provider_errors_total", **labels)
    said = {"message": "top_p is odd", "type": "odd_error", "code": "odd_value", "param": "top_p"}
    provider.script(model, refusal(status, **said))

    response = gateway.chat(f"primary/{model}")

    assert response.status_code == int(status[:3])
    assert response.json() == {"error": said}
    assert response.headers["x-signalbox-error"] == "upstream_rejected"
    assert response.headers["x-signalbox-attempts"] == "primary:upstream_rejected"
    assert len(provider.seen(model)["requests"]) == 1
    assert gateway.metric("llm_provider_errors_total", **labels) == before + 1


def test_a_rejection_without_words_still_has_every_field(
    gateway: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    provider.script(model, answer(b"<html>", status="422 No", headers=HTML))

    response = gateway.chat(f"primary/{model}")

    assert response.status_code == 422
    error = response.json()["error"]
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", None, None)
    assert error["message"] == "primary answered 422"


def test_a_question_too_long_for_the_model_has_a_word_of_its_own(
    gateway: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    said = {"message": "too long", "type": "invalid_request_error", "code": "context_length_exceeded"}
    provider.script(model, refusal("400 Bad Request", **said))

    response = gateway.chat(f"primary/{model}")

    assert (response.status_code, response.headers["x-signalbox-error"]) == (400, "context_length")
    assert response.json()["error"] == said | {"param": None}


def test_what_failed_once_is_asked_again(gateway: GatewayProcess, provider: ProviderProcess, model: str) -> None:
    provider.script(model, refusal("500 Oops"), answer({"choices": [{"finish_reason": "stop"}]}))

    response = gateway.chat(f"primary/{model}")

    assert response.status_code == 200
    assert response.headers["x-signalbox-attempts"] == "primary:upstream_error,primary:ok"


@pytest.mark.parametrize(
    ("status", "header", "tries", "told"),
    [
        ("429 Slow", {"retry-after": "0"}, 3, "0"),
        ("429 Slow", {"retry-after-ms": "20"}, 3, "1"),
        ("429 Slow", {"retry-after": formatdate(1, usegmt=True)}, 3, "0"),
        ("429 Slow", {"retry-after": "600"}, 1, "600"),
        ("429 Slow", {"retry-after": "soon"}, 1, None),
        ("429 Slow", {"retry-after": "nan"}, 1, None),
        ("429 Slow", {"retry-after": "Wed, 21 Oct 99999999999 07:28:00 GMT"}, 1, None),
        ("503 Busy", {"retry-after": "0"}, 3, "0"),
        ("503 Busy", {"retry-after": "600"}, 1, "600"),
    ],
)
def test_a_provider_says_when_to_come_back(  # noqa: PLR0913, PLR0917 - fixtures and cases
    gateway: GatewayProcess,
    provider: ProviderProcess,
    model: str,
    status: str,
    header: dict[str, str],
    tries: int,
    told: str | None,
) -> None:
    provider.script(model, refusal(status, headers=header))

    response = gateway.chat(f"primary/{model}")

    if status.startswith("429"):
        assert_failed(response, 429, "upstream_rate_limited", tries=tries)
    else:
        assert_failed(response, 502, "upstream_error", tries=tries)
    assert response.headers.get("retry-after") == told
    assert len(provider.seen(model)["requests"]) == tries


def test_a_date_to_come_back_at_is_told_in_seconds(
    gateway: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    date = formatdate(time.time() + 3600, usegmt=True)
    provider.script(model, refusal("429 Slow", headers={"retry-after": date}))

    response = gateway.chat(f"primary/{model}")

    assert_failed(response, 429, "upstream_rate_limited")
    assert 3500 < int(response.headers["retry-after"]) <= 3600


def test_a_connection_closed_between_two_calls_is_not_noticed(
    gateway: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    good = answer({"choices": [{"finish_reason": "stop"}]})
    provider.script(model, [*good, CLOSE], good)
    gateway.chat(f"primary/{model}", seed=1)

    response = gateway.chat(f"primary/{model}", seed=2)

    assert response.status_code == 200
    assert response.headers["x-signalbox-attempts"] == "primary:ok"
    assert [body["seed"] for body in provider.bodies(model)] == [1, 2]


@pytest.fixture(scope="module")
def alone(provider: ProviderProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway whose connections to `primary` nobody else uses; nobody listens at its provider `closed`."""
    config = {
        "providers": {
            "primary": {"base_url": provider.base_url("primary"), "api_key": PROVIDER_KEY},
            "closed": {"base_url": f"http://127.0.0.1:{free_port()}/v1", "api_key": PROVIDER_KEY},
        },
        "retry": {"backoff_seconds": 0.01},
    }
    with gateway_process(tmp_path_factory.mktemp("alone"), config) as process:
        yield process


def test_a_provider_that_cannot_be_reached_is_tried_three_times(alone: GatewayProcess, model: str) -> None:
    response = alone.chat(f"closed/{model}")

    assert response.status_code == 502
    assert response.json()["error"]["code"] == response.headers["x-signalbox-error"] == "upstream_connect"
    assert response.headers["x-signalbox-attempts"] == ",".join(["closed:upstream_connect"] * 3)
    assert alone.metric("llm_provider_errors_total", provider="closed", error_type="upstream_connect") == 3


@pytest.mark.parametrize("end", [CLOSE, ABORT])
def test_a_provider_that_hangs_up_without_a_word_has_failed(
    alone: GatewayProcess, provider: ProviderProcess, model: str, end: dict[str, bool]
) -> None:
    good = answer({"choices": [{"finish_reason": "stop"}]})
    provider.script(f"{model}-warm", [GATE, *good])
    with ThreadPoolExecutor() as threads:
        warm = [threads.submit(alone.chat, f"primary/{model}-warm", seed=seed) for seed in range(4)]
        eventually(lambda: len(provider.seen(f"{model}-warm")["requests"]) == 4, "four connections")
        provider.open(f"{model}-warm")
        assert all(each.result().status_code == 200 for each in warm)
    provider.script(model, [end])

    response = alone.chat(f"primary/{model}")

    assert_failed(response, 502, "upstream_error")
    assert len(provider.seen(model)["requests"]) == 2


def test_a_kept_connection_that_dies_unused_is_replaced(
    alone: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    good = answer({"choices": [{"finish_reason": "stop"}]})
    alone.chat(f"primary/{model}-warm")
    provider.script(model, [CLOSE], good)

    response = alone.chat(f"primary/{model}")

    assert response.status_code == 200
    assert response.headers["x-signalbox-attempts"] == "primary:ok"
