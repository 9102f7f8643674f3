"""However a provider's stream is cut up it comes out the same, and however it breaks the caller is told."""

from typing import Any

import pytest

from tests.e2e.conftest import PROVIDER_KEY
from tests.support.processes import GatewayProcess, ProviderProcess, event, send, stream
from tests.support.provider_faults import (
    ABORT,
    DONE,
    ENDLESS,
    FAILED,
    FIRST,
    HANG,
    LAST,
    data,
    events_of,
    eventually,
    last_error,
)

pytestmark = pytest.mark.e2e

NEVER = {"repeat": send(b"%x\r\n%b\r\n" % (len(FIRST), FIRST))["send"], "every": 0.05}


def test_a_stream_that_was_cut_is_not_kept(gateway: GatewayProcess, provider: ProviderProcess, model: str) -> None:
    provider.script(model, stream(FIRST, LAST, ABORT), stream(FIRST, LAST, DONE))
    gateway.chat(f"primary/{model}", stream=True)

    response = gateway.chat(f"primary/{model}", stream=True)

    assert response.headers["x-signalbox-cache"] == "miss"
    assert response.content == FIRST + LAST + DONE


def test_an_end_without_done_is_an_end_when_the_reason_was_told(
    gateway: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    provider.script(model, stream(FIRST, LAST))

    response = gateway.chat(f"primary/{model}", stream=True)

    assert response.content == FIRST + LAST + DONE


IN_MIDSTREAM = {
    "endless": ([NEVER], "upstream_timeout"),
    "silence": ([HANG], "upstream_timeout"),
    "an event without an end": ([ENDLESS], "upstream_malformed"),
    "an error": ([data({"error": FAILED})], "upstream_error"),
    "an error in its choices": ([data({"error": FAILED | {"code": 502}, "choices": [{}]})], "upstream_error"),
    "an error 429": ([data({"error": FAILED | {"code": 429}})], "upstream_rate_limited"),
    "an error 408": ([data({"error": FAILED | {"code": 408}})], "upstream_timeout"),
    "an error as text": ([data({"error": "out of memory"})], "upstream_error"),
    "an error and then [DONE]": ([data({"error": FAILED}) + DONE], "upstream_error"),
}


@pytest.mark.parametrize(("pieces", "word"), IN_MIDSTREAM.values(), ids=IN_MIDSTREAM)
def test_a_stream_that_breaks_ends_with_an_error_and_is_not_tried_again(
    gateway: GatewayProcess, provider: ProviderProcess, model: str, pieces: list[Any], word: str
) -> None:
    labels = {"provider": "primary", "error_type": word}
    failed = gateway.metric("llm_provider_errors_total", **labels)
    settled = gateway.metric("llm_requests_total", provider="primary", status="error")
    provider.script(model, stream(FIRST, {"sleep": 0.05}, *pieces))

    response = gateway.chat(f"primary/{model}", stream=True)

    assert events_of(response)[0] + b"\n\n" == FIRST
    error = last_error(response)
    assert (error["type"], error["code"], error["param"]) == ("upstream_error", word, None)
    assert len(provider.seen(model)["requests"]) == 1
    assert gateway.metric("llm_provider_errors_total", **labels) == failed + 1
    assert gateway.metric("llm_requests_total", provider="primary", status="error") == settled + 1
    (line,) = gateway.log_of(response.headers["x-request-id"])
    assert (line["status"], line["attempts"]) == (word, f"primary:{word}")


@pytest.mark.parametrize("step", [NEVER, HANG], ids=["endless", "silent"])
def test_a_provider_is_hung_up_on_when_its_time_is_over(
    gateway: GatewayProcess, provider: ProviderProcess, model: str, step: dict[str, Any]
) -> None:
    provider.script(model, stream(FIRST, step))

    gateway.chat(f"primary/{model}", stream=True)

    eventually(lambda: provider.seen(model)["left"] == 1, "the connection is closed")


def test_events_that_came_with_an_error_are_told_before_it(
    gateway: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    provider.script(model, stream(FIRST, {"sleep": 0.05}, event("more") + data({"error": FAILED})))

    response = gateway.chat(f"primary/{model}", stream=True)

    assert last_error(response)["code"] == "upstream_error"
    assert response.content.startswith(FIRST + event("more"))


def test_our_key_in_a_streams_error_is_not_passed_on(
    gateway: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    provider.script(model, stream(FIRST, {"sleep": 0.05}, data({"error": {"message": f"{PROVIDER_KEY} is odd"}})))

    response = gateway.chat(f"primary/{model}", stream=True)

    assert last_error(response)["message"] == "*** is odd"
    assert PROVIDER_KEY not in response.text


def test_an_error_event_of_the_callers_making_keeps_the_providers_words(
    gateway: GatewayProcess, provider: ProviderProcess, model: str
) -> None:
    said = {"message": "odd", "type": "odd_error", "param": "top_p", "code": 400}
    provider.script(model, stream(data({"error": said})))

    response = gateway.chat(f"primary/{model}", stream=True)

    assert response.status_code == 400
    assert response.json()["error"] == said | {"code": "400"}
    assert response.headers["x-signalbox-error"] == "upstream_rejected"
