"""A round of scripted traffic, and what each request of it must have left in the gateway's counters."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import httpx

from tests.support.processes import GatewayProcess, ProviderProcess, answer, event, stream
from tests.support.provider_faults import ABORT, DONE, HANG, eventually, refusal

CHAT = "/v1/chat/completions"
KEY = "sk-story-0123456789"
TOKENS = (7, 3)
"""What `tests.support.provider` says a chat has used."""

FAILING = {
    "fails-500": (refusal("500 Oops"), "upstream_error", 502, 2),
    "fails-401": (refusal("401 Unauthorized"), "upstream_auth", 502, 1),
    "fails-400": (refusal("400 Bad Request"), "upstream_rejected", 400, 1),
    "fails-429": (refusal("429 Too Many Requests"), "upstream_rate_limited", 429, 1),
    "fails-html": (answer(b"<html>"), "upstream_malformed", 502, 1),
    "fails-empty": (answer({"choices": []}), "upstream_empty", 502, 1),
    "fails-late": ([HANG], "upstream_timeout", 504, 1),
}
"""By model: the provider's answer, the word it becomes, the caller's status, and how often the provider is asked."""

ROUTES = {
    **{name: [f"good:{name}"] for name in (*FAILING, "steady", "recovers", "breaks", "leaves")},
    "rescued": ["bad:rescued-first", "good:rescued-second"],
    "nowhere": ["gone:nowhere"],
}

Sample = tuple[str, tuple[tuple[str, str], ...]]


class Story:
    """`expected` is every counter the story touched, by name and labels, with its value."""

    def __init__(self, gateway: GatewayProcess, provider: ProviderProcess) -> None:
        self.expected: Counter[Sample] = Counter()
        self._gateway = gateway
        self._provider = provider
        self._client = httpx.Client(base_url=gateway.url, trust_env=False, headers={"authorization": f"Bearer {KEY}"})
        self._round = 0

    def tell(self) -> None:
        """One round; no question of it was asked in another."""
        self._round += 1
        self._good_calls()
        self._streams()
        self._failing_calls()
        self._refusals()

    def close(self) -> None:
        self._client.close()

    def _good_calls(self) -> None:
        for cache in ("misses", "hits"):
            self._call("steady", cache=cache)
        self._call("steady", cache="bypasses", seed=-self._round, headers={"helicone-cache-enabled": "false"})
        self._call("good/good-model", reason="prefix")
        self._call("good-model", reason="listed")
        self._call("steady", route="/v1/completions", fields={"prompt": f"round {self._round}"})
        self._call("steady", route="/v1/embeddings", fields={"input": f"round {self._round}"}, tokens=(5, 0))
        self._provider.script("recovers", refusal("503 Busy"), answer(_ANSWER))
        self._call("recovers", attempts=("good:upstream_error", "good:"), tokens=(0, 0))
        self._provider.script("rescued-first", refusal("401 Unauthorized"))
        self._call("rescued", attempts=("bad:upstream_auth", "good:"))

    def _streams(self) -> None:
        for cache in ("misses", "hits"):
            self._call("steady", cache=cache, stream=True)
        self._provider.script("breaks", stream(event("half"), ABORT))
        self._call("breaks", stream=True, word="upstream_truncated", attempts=("good:upstream_truncated",))
        self._provider.script("leaves", stream(event("one"), HANG))
        self._leave_a_stream()

    def _failing_calls(self) -> None:
        for model, (steps, word, status, tries) in FAILING.items():
            self._provider.script(model, steps)
            self._call(model, word=word, status=status, attempts=(f"good:{word}",) * tries)
        self._call("nowhere", word="upstream_connect", status=502, attempts=("gone:upstream_connect",) * 2)

    def _refusals(self) -> None:
        for number in range(3):
            self._call(f"made-up-{self._round}-{number}", word="model_not_found", status=404, attempts=())
        body = {"model": "steady", "messages": []}
        for key, result in (("Bearer sk-wrong", "refused"), ("Bearer sk-other", "refused"), ("", "missing")):
            said = httpx.post(f"{self._gateway.url}{CHAT}", json=body, headers={"authorization": key}, trust_env=False)
            self._refused(said, "authentication", 401, result=result)
        self._refused(self._client.post(CHAT, content=b"{"), "invalid_request", 400, result="accepted")
        self._refused(self._client.get(CHAT), "method_not_allowed", 405, method="GET")
        for number in range(4):
            said = self._client.get(f"/made/up/{self._round}/{number}")
            self._refused(said, "not_found", 404, method="GET", route="unmatched")

    def _call(  # noqa: PLR0913 - what a call of the story may be
        self,
        model: str,
        *,
        route: str = CHAT,
        fields: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        seed: int | None = None,
        stream: bool = False,
        word: str = "",
        status: int = 200,
        attempts: Sequence[str] = ("good:",),
        cache: str = "misses",
        reason: str = "route",
        tokens: tuple[int, int] = TOKENS,
    ) -> None:
        body = {"model": model, "stream": stream, "seed": self._round if seed is None else seed}
        body |= fields or {"messages": [{"role": "user", "content": "hi"}]}
        body |= {"stream_options": {"include_usage": True}} if stream else {}
        said = self._client.post(route, json=body, headers=headers)
        assert (said.status_code, said.headers.get("x-signalbox-error", "")) == (status, "" if stream else word), (
            said.text
        )
        self._http("POST", route, status, "" if stream else word)
        self._count("llm_auth_attempts_total", result="accepted")
        self._settled(model, attempts, word, cache=cache, reason=reason, tokens=(0, 0) if word else tokens)
        if stream:
            self._streamed(said.content, word or "complete")

    def _leave_a_stream(self) -> None:
        body = {"model": "leaves", "stream": True, "seed": self._round, "messages": []}
        settled = self._gateway.metric("llm_streams_total", provider="good", ending="client_disconnected")
        with self._client.stream("POST", CHAT, json=body) as said:
            seen = next(said.iter_bytes())
        eventually(
            lambda: self._gateway.metric("llm_streams_total", provider="good", ending="client_disconnected") > settled,
            "the gateway sees that its caller left",
        )
        self._http("POST", CHAT, 200)
        self._count("llm_auth_attempts_total", result="accepted")
        self._count("http_client_disconnects_total", route=CHAT)
        self._settled("leaves", ("good:",), "client_disconnected", cache="misses", reason="route", tokens=(0, 0))
        self._streamed(seen, "client_disconnected")

    def _settled(  # noqa: PLR0913 - what a settled call is
        self, model: str, attempts: Sequence[str], word: str, *, cache: str, reason: str, tokens: tuple[int, int]
    ) -> None:
        tried = [each.split(":") for each in attempts]
        provider = tried[-1][0] if tried else "none"
        self._count("llm_requests_total", provider=provider, status="error" if word else "success")
        self._count(f"llm_cache_{cache}_total")
        if cache == "hits":
            self._tokens("llm_cache_tokens_saved_total", tokens)
            return
        for number, (who, failure) in enumerate(tried):
            self._attempt(model, who, failure, reason, before=tried[number - 1] if number else None)
        if tried:
            self._count("model_inference_total", model=model)
            self._count("model_tokens_generated_total", tokens[1], model=model)
        if tried and word:
            self._count("model_inference_errors_total", model=model, error_type=word)
        self._tokens("llm_token_usage_total", tokens, provider=provider)
        self._tokens("llm_model_tokens_total", tokens, provider=provider, model=model)

    def _attempt(self, model: str, who: str, failure: str, reason: str, before: list[str] | None) -> None:
        self._count("llm_provider_requests_total", provider=who)
        if failure:
            self._count("llm_provider_errors_total", provider=who, error_type=failure)
        if before is None:
            self._count("llm_routing_decisions_total", provider=who, reason=reason)
        elif before[0] == who:
            self._count("llm_retries_total", provider=who, reason=before[1])
        else:
            self._count("llm_fallbacks_total", provider=before[0], reason=before[1])
            self._count("llm_routing_decisions_total", provider=who, reason="fallback")

    def _streamed(self, content: bytes, ending: str) -> None:
        events = [each for each in content.split(b"\n\n") if each and each != DONE.strip() and b'"error"' not in each]
        self._count("llm_streams_total", provider="good", ending=ending)
        self._count("llm_stream_chunks_total", len(events), provider="good")
        self._count("llm_stream_bytes_total", sum(len(each) + 2 for each in events), provider="good")

    def _refused(  # noqa: PLR0913 - what a refusal of the story may be
        self, said: httpx.Response, word: str, status: int, *, method: str = "POST", route: str = CHAT, result: str = ""
    ) -> None:
        assert (said.status_code, said.headers["x-signalbox-error"]) == (status, word), said.text
        self._http(method, route, status, word)
        if result:
            self._count("llm_auth_attempts_total", result=result)

    def _http(self, method: str, route: str, status: int, word: str = "") -> None:
        self._count("http_requests_total", method=method, route=route, status=str(status))
        if word:
            self._count("llm_request_errors_total", error_type=word)

    def _tokens(self, metric: str, tokens: tuple[int, int], **labels: str) -> None:
        for kind, number in zip(("prompt", "completion"), tokens, strict=True):
            self._count(metric, number, **labels, type=kind)

    def _count(self, metric: str, times: int = 1, **labels: str) -> None:
        self.expected[metric, tuple(sorted(labels.items()))] += times


_ANSWER = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}]}
