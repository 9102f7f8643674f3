"""What must not be served, must not be stored, and must not be told."""

import json
import unicodedata
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from app.cache.keys import key_of
from app.domain.llm import LLMRequest, Operation
from tests.support.gateways import gateway_on, warnings_of
from tests.support.processes import GatewayProcess, ProviderProcess, answer, event, redis_process, stream
from tests.support.provider_faults import ABORT, DONE, ask_and_wait, eventually
from tests.support.redis_servers import needs_redis

pytestmark = pytest.mark.e2e

TENANTS = {"ann": {"key": "ann-key-0123456789"}, "bob": {"key": "bob-key-0123456789"}}
SEAL_KEY = "seal-secret-0123456789"
CAFE = "caf\u00e9"


def by(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {TENANTS[name]['key']}"}


@pytest.fixture(params=["memory", pytest.param("redis", marks=needs_redis)])
def shared(request: pytest.FixtureRequest, provider: ProviderProcess, directory: Path) -> Iterator[GatewayProcess]:
    """A gateway of two tenants, with each backend."""
    with ExitStack() as stack:
        url = "" if request.param == "memory" else stack.enter_context(redis_process(directory))[1]
        yield stack.enter_context(gateway_on(provider, directory / "gateway", url=url, keys=TENANTS))


@pytest.mark.parametrize("streaming", [False, True], ids=["JSON", "stream"])
def test_C_01_two_tenants_ask_the_same(
    shared: GatewayProcess, provider: ProviderProcess, model: str, *, streaming: bool
) -> None:
    """Callers of two tenants ask the same, one after the other.

    Happens: each tenant has an answer of its own; none is shared unless `cache.shared` says so.
    Seen: `x-signalbox-cache: miss` for the first of each tenant, `hit` for the second.
    """
    seen = [
        shared.chat(f"primary/{model}", stream=streaming, headers=by(name)).headers["x-signalbox-cache"]
        for name in ("ann", "ann", "bob", "bob")
    ]

    assert seen == ["miss", "hit", "miss", "hit"]
    assert len(provider.seen(model)["requests"]) == 2


def test_C_09_another_tenant_probes_for_what_is_stored(shared: GatewayProcess, model: str) -> None:
    """One tenant's answer is stored; another asks the same with `only-if-cached`.

    Happens: 504, as if nobody had ever asked; there is no faster answer to notice.
    Seen: a miss like every other.
    """
    assert shared.chat(f"primary/{model}", headers=by("ann")).status_code == 200

    probed = {
        name: shared.chat(f"primary/{model}", headers=by(name) | {"cache-control": "only-if-cached"}).status_code
        for name in ("ann", "bob")
    }

    assert probed == {"ann": 200, "bob": 504}


def said(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


QUESTIONS: list[dict[str, Any]] = [
    {},
    {"temperature": 0},
    {"temperature": 0.0},
    {"seed": 1},
    {"n": 1},
    {"tools": [{"type": "function", "function": {"name": "f"}}]},
    {"response_format": {"type": "json_object"}},
    {"messages": [{"role": "system", "content": "s"}, *said("hi")]},
    {"messages": said(unicodedata.normalize("NFC", CAFE))},
    {"messages": said(unicodedata.normalize("NFD", CAFE))},
    {"messages": [*said("ab"), *said("c")]},
    {"messages": [*said("a"), *said("bc")]},
    {"messages": said("ab"), "stop": "c"},
    {"messages": said("a"), "stop": "bc"},
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:;base64,AA=="}}]}]},
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:;base64,AQ=="}}]}]},
    {"never_heard_of": True},
]


def test_C_02_questions_differ_in_one_thing(provider: ProviderProcess, directory: Path, model: str) -> None:
    """Questions that differ in one field, one byte of an image, one way to write `é` or where a text ends.

    Happens: each is a question of its own, asked once, and then served from the cache.
    Seen: `x-signalbox-cache: miss`, then `hit`.
    """
    provider.script(model, answer(choice("stop", content="x")))
    with gateway_on(provider, directory) as gateway:
        first, second = (
            [gateway.chat(f"primary/{model}", **each).headers["x-signalbox-cache"] for each in QUESTIONS]
            for _ in range(2)
        )

    assert (set(first), set(second)) == ({"miss"}, {"hit"})
    assert len(provider.seen(model)["requests"]) == len(QUESTIONS)


GARBAGE = [b"", b"\x00garbage", b"sb1p", b"sb1p\x97" + b"\xc0" * 7, b"sb1p" + b"\xff" * 50, b"sb1p" + b"x" * 2**21]


@needs_redis
def test_C_05_others_write_under_our_keys(provider: ProviderProcess, directory: Path, model: str) -> None:
    """Another program on the same Redis writes garbage under the key of a question, or another question's answer.

    Happens: a miss; the provider's answer is served.
    Seen: `llm_cache_rejected_total` by reason `format`, `size` or `question`; one line a minute.
    """
    with redis_process(directory) as (_, url), gateway_on(provider, directory, url=url, l1_seconds=0) as gateway:
        with redis.Redis.from_url(url) as client:
            for number, garbage in enumerate(GARBAGE):
                client.set(name_of(model, seed=number), garbage)
            client.set(name_of(model, seed=len(GARBAGE)), stored(gateway, client, model, seed=-1))

        seen = [gateway.chat(f"primary/{model}", seed=number) for number in range(len(GARBAGE) + 1)]

        assert {(each.status_code, each.headers["x-signalbox-cache"]) for each in seen} == {(200, "miss")}
        reasons = {each: gateway.metric("llm_cache_rejected_total", reason=each) for each in ("size", "question")}
        assert reasons == {"size": 1, "question": 1}
        assert gateway.metric("llm_cache_rejected_total", reason="format") == len(GARBAGE) - 1
        assert len(warnings_of(gateway, "a value in redis is not ours, and counts as a miss")) == 1


@needs_redis
def test_C_05_others_make_up_an_answer(provider: ProviderProcess, directory: Path, model: str) -> None:
    """Another program knows our form and makes up an answer to a question; `cache.hmac_key` is set.

    Happens: a miss, whether the answer has no seal, another's, or that of another question.
    Seen: `llm_cache_rejected_total{reason="seal"}` and `format`; the key of the seal is nowhere in the log.
    """
    with ExitStack() as stack:
        url = stack.enter_context(redis_process(directory))[1]
        open_ = stack.enter_context(gateway_on(provider, directory / "open", url=url, l1_seconds=0))
        sealed = stack.enter_context(
            gateway_on(provider, directory / "sealed", url=url, l1_seconds=0, hmac_key=SEAL_KEY)
        )
        client = stack.enter_context(redis.Redis.from_url(url))
        unsealed = stored(open_, client, model, seed=1)
        sealed_one = stored(sealed, client, model, seed=2)
        client.set(name_of(model, seed=3), sealed_one)
        client.set(name_of(model, seed=2), sealed_one[:-1] + bytes([sealed_one[-1] ^ 1]))

        assert (unsealed[:4], sealed_one[:4]) == (b"sb1p", b"sb1s")
        for number in (1, 2, 3):  # what it wrote itself it knows until the server has confirmed
            eventually(lambda number=number: served(sealed, model, number) == "miss", "the made-up one is not taken")
        assert sealed.metric("llm_cache_rejected_total", reason="format") == 1
        assert sealed.metric("llm_cache_rejected_total", reason="seal") == 2
        assert served(open_, model, 1) == "miss"
        assert SEAL_KEY not in sealed.log_text() + sealed.banner


def served(gateway: GatewayProcess, model: str, seed: int) -> str:
    return str(gateway.chat(f"primary/{model}", seed=seed).headers["x-signalbox-cache"])


def name_of(model: str, **fields: Any) -> bytes:
    """Under which name the answer to this question is stored."""
    body = {"model": f"primary/{model}", "messages": said("hi")} | fields
    request = LLMRequest.parse(Operation.CHAT, json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode())
    return b"signalbox:cache:" + key_of(request, tenant="anonymous").hex().encode()


def stored(gateway: GatewayProcess, client: redis.Redis, model: str, **fields: Any) -> bytes:
    """What is stored when this is asked."""
    assert gateway.chat(f"primary/{model}", **fields).status_code == 200
    eventually(lambda: client.exists(name_of(model, **fields)), "the answer is stored")
    return bytes(client.get(name_of(model, **fields)))


def choice(finish_reason: str | None, **message: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish_reason}]}


TOOL = {"tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}


@pytest.mark.parametrize(
    ("script", "streaming"),
    [
        (answer({"error": {"message": "no"}}, status="400 No"), False),
        (answer(choice("length", content="x")), False),
        (answer(choice("content_filter", content="")), False),
        (answer(choice("tool_calls", **TOOL)), False),
        (answer(choice(None, content="x")), False),
        (answer({"choices": []}), False),
        (stream(event("x", "length"), DONE), True),
        (stream(event("x", "content_filter"), DONE), True),
        (stream(event("x")), True),
        (stream(event("x"), ABORT), True),
        (stream(event("x"), b'data: {"error":{"message":"no"}}\n\n'), True),
    ],
    ids=["error", "length", "filtered", "tool", "open", "empty", "length s", "filtered s", "no end", "cut", "error s"],
)
def test_C_06_an_answer_that_is_not_whole(
    provider: ProviderProcess, whole_gateway: GatewayProcess, model: str, *, script: list[Any], streaming: bool
) -> None:
    """The answer is an error, was cut by its length or a filter, calls a tool, says nothing or breaks in mid-stream.

    Happens: it is told, and never stored.
    Seen: the next who asks is no `hit`, and the provider is asked again.
    """
    provider.script(model, script)

    seen = [whole_gateway.chat(f"primary/{model}", stream=streaming) for _ in range(2)]

    assert "hit" not in {each.headers.get("x-signalbox-cache") for each in seen}
    assert len(provider.seen(model)["requests"]) >= 2


def test_C_06_a_stream_whose_caller_leaves(
    provider: ProviderProcess, whole_gateway: GatewayProcess, model: str
) -> None:
    """The only caller of a stream hangs up in mid-answer.

    Happens: the provider is hung up on, and nothing is stored.
    Seen: the next who asks is a miss.
    """
    provider.script(model, stream(event("x"), {"gate": True}, event("y", "stop"), DONE))
    with ask_and_wait(whole_gateway, {"model": f"primary/{model}", "stream": True}, request_id=model) as caller:
        assert caller.recv(1000)
    eventually(lambda: provider.seen(model)["left"] == 1, "the provider is hung up on")
    provider.script(model, stream(event("z", "stop"), DONE))

    later = whole_gateway.chat(f"primary/{model}", stream=True, messages=[])

    assert later.headers["x-signalbox-cache"] == "miss"


@pytest.fixture(scope="module")
def whole_gateway(provider: ProviderProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with gateway_on(provider, tmp_path_factory.mktemp("whole")) as process:
        yield process


@pytest.mark.parametrize("streaming", [False, True], ids=["JSON", "stream"])
def test_C_07_an_answer_is_served_again(
    whole_gateway: GatewayProcess, provider: ProviderProcess, model: str, *, streaming: bool
) -> None:
    """The same question comes again.

    Happens: the same answer, as a stream where it was one; no tokens are counted as used.
    Seen: `x-signalbox-cache: hit`, `Cache-Status`, `Age`; `llm_cache_tokens_saved_total`.
    """
    gateway = whole_gateway
    hits = gateway.metric("llm_cache_hits_total")
    misses = gateway.metric("llm_cache_misses_total")
    saved = gateway.metric("llm_cache_tokens_saved_total", type="completion")
    used = gateway.metric("llm_token_usage_total", provider="primary", type="completion")

    first, second = (gateway.chat(f"primary/{model}", stream=streaming) for _ in range(2))

    assert first.text == second.text
    assert (first.headers["x-signalbox-cache"], first.headers["cache-status"]) == ("miss", "signalbox; fwd=uri-miss")
    assert second.headers["x-signalbox-cache"] == "hit"
    assert second.headers["cache-status"].startswith("signalbox; hit; ttl=")
    assert second.headers["age"] in {"0", "1"}
    assert second.headers["x-signalbox-provider"] == "primary"
    assert "x-signalbox-attempts" not in second.headers
    assert len(provider.seen(model)["requests"]) == 1
    assert gateway.metric("llm_cache_hits_total") == hits + 1
    assert gateway.metric("llm_cache_misses_total") == misses + 1
    assert gateway.metric("llm_cache_tokens_saved_total", type="completion") == saved + 3
    assert gateway.metric("llm_token_usage_total", provider="primary", type="completion") == used + 3
