"""Traces and GenAI metrics as a real OTLP receiver gets them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.collector import Collector, Received, collector
from tests.support.processes import GatewayProcess, ProviderProcess, answer, event, gateway_process, stream

PARENT = "b7ad6b7169203331"
TELEMETRY = {
    "service_name": "desk",
    "resource": {"deployment.environment.name": "test"},
    "headers": {"x-otlp-token": "sk-collector-0123456789"},
    "interval_seconds": 0.2,
    "timeout_seconds": 2,
}


def config(provider: ProviderProcess, client: str, **telemetry: Any) -> dict[str, Any]:
    rows = {name: {"base_url": provider.base_url(name), "upstream": client} for name in ("primary", "backup")}
    return {
        "providers": rows,
        "routes": {"both": ["primary:traced-first", "backup:traced-second"]},
        "retry": {"max_retries": 0},
        "telemetry": telemetry,
    }


@pytest.fixture(scope="module")
def receiver() -> Iterator[Collector]:
    with collector() as made:
        yield made


@pytest.fixture(scope="module", params=["lean", "httpx"])
def traced(
    request: pytest.FixtureRequest,
    provider: ProviderProcess,
    receiver: Collector,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[GatewayProcess]:
    made = config(provider, request.param, endpoint=receiver.url, **TELEMETRY)
    with gateway_process(tmp_path_factory.mktemp("traced"), made) as process:
        yield process


@pytest.fixture
def trace_id(model: str) -> str:
    """A trace of the test's own."""
    return model.encode().hex()[-32:].rjust(32, "a")


def traceparent(trace_id: str, flags: str = "01") -> dict[str, str]:
    return {"traceparent": f"00-{trace_id}-{PARENT}-{flags}"}


def kinds(spans: list[Received]) -> list[tuple[str, str]]:
    return [(span.kind, span.name) for span in spans]


def asked_with(provider: ProviderProcess, model: str) -> list[dict[str, str]]:
    return [each["headers"] for each in provider.seen(model)["requests"]]


def test_a_call_is_a_tree_of_spans_within_the_callers_trace(
    traced: GatewayProcess, provider: ProviderProcess, receiver: Collector, model: str, trace_id: str
) -> None:
    reply = traced.chat(f"primary/{model}", headers=traceparent(trace_id) | {"tracestate": "a=1,b=2"})

    server, enforce, lookup, decide, client = receiver.trace(trace_id, size=5)
    (sent,) = asked_with(provider, model)
    assert reply.headers["x-trace-id"] == trace_id
    assert kinds([server, enforce, lookup, decide, client]) == [
        ("server", "POST /v1/chat/completions"),
        ("internal", "policy.enforce"),
        ("internal", "cache.lookup"),
        ("internal", "router.decide"),
        ("client", f"chat {model}"),
    ]
    assert (server.parent_id, server.remote) == (PARENT, True)
    assert {span.parent_id for span in (enforce, lookup, decide, client)} == {server.span_id}
    assert sent["traceparent"] == f"00-{trace_id}-{client.span_id}-01"
    assert sent["tracestate"] == "a=1,b=2"
    assert all(server.started <= span.started <= span.ended <= server.ended for span in (enforce, lookup, client))
    assert not any(span.failed for span in (server, enforce, lookup, decide, client))


def test_spans_say_what_the_conventions_want(
    traced: GatewayProcess, provider: ProviderProcess, receiver: Collector, model: str, trace_id: str
) -> None:
    reply = traced.chat(f"primary/{model}", headers=traceparent(trace_id))

    spans = receiver.trace(trace_id, size=5)
    server, client = spans[0], spans[-1]
    assert server.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "url.path": "/v1/chat/completions",
        "url.scheme": "http",
        "http.response.status_code": 200,
        "http.request.body.size": len(reply.request.content),
        "signalbox.request_id": reply.headers["x-request-id"],
        "signalbox.key": "anonymous",
        "signalbox.model": f"primary/{model}",
        "signalbox.provider": "primary",
        "signalbox.cache": "miss",
        "signalbox.stream": False,
        "signalbox.attempts": "primary:ok",
    }
    assert client.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "primary",
        "gen_ai.request.model": model,
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 3,
        "server.address": "127.0.0.1",
        "server.port": urlsplit(provider.url).port,
        "signalbox.provider": "primary",
        "signalbox.attempt": 1,
    }
    assert receiver.resource["service.name"] == "desk"
    assert receiver.resource["deployment.environment.name"] == "test"
    assert receiver.resource["service.version"]
    assert receiver.headers[0]["x-otlp-token"] == "sk-collector-0123456789"


def test_each_attempt_is_a_span_and_the_one_that_failed_says_why(
    traced: GatewayProcess, provider: ProviderProcess, receiver: Collector, trace_id: str
) -> None:
    provider.script("traced-first", answer({"error": {"message": "no"}}, status="500 Internal Server Error"))
    before = len(provider.seen("traced-second")["requests"])

    traced.chat("both", headers=traceparent(trace_id) | {"cache-control": "no-store"})

    spans = [span for span in receiver.trace(trace_id, size=5) if span.kind == "client"]
    first, second = spans
    assert [(span.name, span.failed) for span in spans] == [("chat traced-first", True), ("chat traced-second", False)]
    assert first.attributes["error.type"] == "upstream_error"
    assert [span.attributes["signalbox.attempt"] for span in spans] == [1, 2]
    assert first.parent_id == second.parent_id
    assert asked_with(provider, "traced-first")[-1]["traceparent"] == f"00-{trace_id}-{first.span_id}-01"
    assert asked_with(provider, "traced-second")[before]["traceparent"] == f"00-{trace_id}-{second.span_id}-01"


def test_a_stream_is_one_span_to_its_last_event(
    traced: GatewayProcess, provider: ProviderProcess, receiver: Collector, model: str, trace_id: str
) -> None:
    pieces = [event("a"), {"sleep": 0.3}, event("b", "stop"), b"data: [DONE]\n\n"]
    provider.script(model, stream(*pieces))

    traced.chat(f"primary/{model}", stream=True, headers=traceparent(trace_id))

    spans = receiver.trace(trace_id, size=5)
    client = spans[-1]
    assert client.attributes["gen_ai.request.stream"] is True
    assert client.attributes["gen_ai.response.finish_reasons"] == ["stop"]
    first = client.attributes["gen_ai.response.time_to_first_chunk"]
    assert first > 0
    assert client.ended - client.started >= first + 0.25
    assert spans[0].attributes["signalbox.stream.chunks"] == 2


def test_a_stream_that_breaks_is_a_failed_span_though_its_status_was_200(
    traced: GatewayProcess, provider: ProviderProcess, receiver: Collector, model: str, trace_id: str
) -> None:
    provider.script(model, [*stream(event("a"), {"sleep": 0.1}, end=False), {"close": True}])

    traced.chat(f"primary/{model}", stream=True, headers=traceparent(trace_id))

    spans = receiver.trace(trace_id, size=5)
    for span in (spans[0], spans[-1]):
        assert (span.attributes["error.type"], span.failed) == ("upstream_truncated", True)
    assert spans[0].attributes["http.response.status_code"] == 200


def test_a_hit_has_no_span_of_a_provider(
    traced: GatewayProcess, receiver: Collector, model: str, trace_id: str
) -> None:
    traced.chat(f"primary/{model}")

    reply = traced.chat(f"primary/{model}", headers=traceparent(trace_id))

    spans = receiver.trace(trace_id, size=3)
    assert reply.headers["x-signalbox-cache"] == "hit"
    assert kinds(spans)[1:] == [("internal", "policy.enforce"), ("internal", "cache.lookup")]
    assert spans[0].attributes["signalbox.cache"] == "hit"
    assert spans[0].attributes["signalbox.cost_usd"] == 0


def test_what_is_refused_is_a_span_too_and_no_error_of_ours(
    traced: GatewayProcess, receiver: Collector, trace_id: str
) -> None:
    reply = traced.client.post("/v1/chat/completions", content=b"{", headers=traceparent(trace_id))

    spans = receiver.trace(trace_id, size=2)
    assert reply.headers["x-trace-id"] == trace_id
    assert kinds(spans) == [("server", "POST /v1/chat/completions"), ("internal", "policy.enforce")]
    assert (spans[0].attributes["http.response.status_code"], spans[0].failed) == (400, False)
    assert spans[0].attributes["error.type"] == "invalid_request"
    (line,) = [each for each in traced.log() if each.get("trace_id") == trace_id]
    assert line["event"] == "refused"


def test_without_a_callers_trace_there_is_one_of_our_own(
    traced: GatewayProcess, provider: ProviderProcess, receiver: Collector, model: str
) -> None:
    reply = traced.chat(f"primary/{model}")

    spans = receiver.trace(reply.headers["x-trace-id"], size=5)
    (line,) = traced.log_of(reply.headers["x-request-id"])
    (sent,) = asked_with(provider, model)
    assert spans[0].parent_id == ""
    assert line["trace_id"] == reply.headers["x-trace-id"]
    assert sent["traceparent"].split("-")[1] == reply.headers["x-trace-id"]


@pytest.mark.parametrize("garbage", ["", "00-xyz", "ff-" + "a" * 32 + "-" + "b" * 16 + "-01", "0" * 55, "x" * 5000])
def test_garbage_for_a_context_is_as_none(
    traced: GatewayProcess, provider: ProviderProcess, model: str, garbage: str
) -> None:
    reply = traced.chat(f"primary/{model}", headers={"traceparent": garbage, "tracestate": "a=1"})

    (sent,) = asked_with(provider, model)
    assert reply.status_code == 200
    assert len(reply.headers["x-trace-id"]) == 32
    assert sent["traceparent"].startswith(f"00-{reply.headers['x-trace-id']}-")
    assert "tracestate" not in sent


def test_what_the_caller_did_not_sample_is_handed_on_and_not_exported(
    traced: GatewayProcess, provider: ProviderProcess, receiver: Collector, model: str, trace_id: str
) -> None:
    traced.chat(f"primary/{model}", headers=traceparent(trace_id, "00"))
    after = traced.chat(f"primary/{model}")

    receiver.trace(after.headers["x-trace-id"], size=3)
    (sent,) = asked_with(provider, model)
    assert sent["traceparent"].startswith(f"00-{trace_id}-")
    assert sent["traceparent"].endswith("-00")
    assert receiver.of(trace_id) == []


def test_the_metrics_are_told_under_their_old_and_their_new_names(
    provider: ProviderProcess, directory: Path, model: str
) -> None:
    with collector() as own:
        made = config(provider, "lean", endpoint=own.url, **TELEMETRY)
        made["providers"]["primary"]["models"] = [model]
        with gateway_process(directory, made) as gateway:
            gateway.chat(model)
            gateway.chat(model)  # a hit asks nobody
            gateway.chat(model, stream=True)
            gateway.client.post("/v1/embeddings", json={"model": model, "input": "x"})
            provider.script("traced-first", answer({"error": {"message": "no"}}, status="401 Unauthorized"))
            gateway.chat("both")
            gateway.stop()

    here = {"gen_ai.provider.name": "primary", "gen_ai.request.model": model, "server.address": "127.0.0.1"}
    chat = here | {"gen_ai.operation.name": "chat"}
    for name in ("gen_ai.client.operation.duration", "gen_ai.client.inference.duration"):
        assert own.point(name, chat).count == 2
        assert own.point(name, {"error.type": "upstream_auth"}).count == 1
    embeddings = here | {"gen_ai.operation.name": "embeddings"}
    assert own.point("gen_ai.client.operation.duration", embeddings).count == 1
    for kind, used in (("input", 14), ("output", 6)):
        usage = own.point("gen_ai.client.token.usage", chat | {"gen_ai.token.type": kind})
        spread = own.point(f"gen_ai.client.inference.operation.{kind}_tokens", chat)
        spent = own.point(f"gen_ai.client.inference.usage.{kind}_tokens", chat | {"gen_ai.token.modality": "unknown"})
        assert (usage.value, usage.count, spread.value, spread.count) == (used, 2, used, 2)
        assert (spent.value, spent.count, spent.unit) == (used, None, "{token}")
    for name in ("operation", "inference"):
        assert own.point(f"gen_ai.client.{name}.time_to_first_chunk", chat).count == 1
        assert own.point(f"gen_ai.client.{name}.time_per_output_chunk", chat).count == 4
    nothing = own.point("gen_ai.client.inference.usage.input_tokens", {"gen_ai.request.model": "traced-first"})
    assert nothing.value == 0
