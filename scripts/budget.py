"""What each part of a call on the hot path costs by itself: processor time in µs, alone and with everything at hand.

Under load a part costs about twice as much, because its code and data have to come from further away. Run it as
`make budget`; figures are for comparing within one run.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import uvloop

from app.cache.keys import key_of
from app.container import Container
from app.controllers.cache_controls import controls_of
from app.controllers.openai.head import lines_of
from app.domain.llm import CacheStatus, LLMRequest, Operation, Reply
from app.domain.outcome import Outcome
from app.domain.passage import Passage
from app.domain.usage import TokenUsage
from app.main import create_server
from app.services.presence import Presence
from app.settings import KeySettings, LogSettings, ProviderSettings, Secret, Settings

ROUNDS = 5
TIMES = 20_000
SETTINGS = Settings(
    log=LogSettings(format="json"),
    keys={"budget": KeySettings(key=Secret("sk-budget"))},
    providers={"mock": ProviderSettings(base_url="http://127.0.0.1:9/v1")},
    routes={"mock-gpt": ("mock:mock-gpt",)},
)
QUESTION = b'{"model":"mock-gpt","messages":[{"role":"user","content":"%b"}],"temperature":0.7}' % (b"x" * 900)
ANSWER = (
    b'{"id":"1","object":"chat.completion","created":1,"model":"mock-gpt","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"%b"},"finish_reason":"stop"}],"usage":{"prompt_tokens":25,'
    b'"completion_tokens":200,"total_tokens":225}}'
) % (b"y" * 900)
SENT = [
    (b"host", b"127.0.0.1:12434"),
    (b"user-agent", b"budget"),
    (b"accept", b"*/*"),
    (b"content-type", b"application/json"),
    (b"authorization", b"Bearer sk-budget"),
    (b"content-length", b"%d" % len(QUESTION)),
]


def cost(part: Callable[[], object]) -> float:
    """The best of some rounds, less what the asking itself costs."""

    def round_of(each: Callable[[], object]) -> float:
        started = time.process_time()
        for _ in range(TIMES):
            each()
        return (time.process_time() - started) / TIMES * 1e6

    empty = min(round_of(lambda: None) for _ in range(ROUNDS))
    return max(min(round_of(part) for _ in range(ROUNDS)) - empty, 0.0)


Parts = Iterator[tuple[str, Callable[[], object]]]

REQUEST = LLMRequest.parse(Operation.CHAT, QUESTION)
USAGE = TokenUsage(25, 200)
REPLY = Reply(
    body=ANSWER,
    provider="mock",
    model="mock-gpt",
    usage=USAGE,
    finish_reasons=("stop",),
    complete=True,
    cache=CacheStatus.MISS,
    attempts="mock:ok",
)
OUTCOME = Outcome(
    request_id="id",
    caller="budget",
    operation=Operation.CHAT,
    model="mock-gpt",
    stream=False,
    seconds=0.01,
    provider="mock",
    place="mock",
    cache=CacheStatus.MISS,
    usage=USAGE,
    attempts="mock:ok",
    seconds_upstream=0.005,
    public_model="mock-gpt",
)
PASSAGE = Passage(
    1.0, 1.00001, "/v1/chat/completions", "POST", 1.00002, 1.00002, 1.00003, 1.00004, 1.00005, 1.005, 0.0, 1.0051
)


def before_the_provider(door: Any) -> Parts:
    headers = dict(SENT)
    scope: Any = {"method": "POST", "headers": SENT}
    yield "whether it is traced", lambda: door.trace(headers, SENT)
    yield "key, host, origin, size", lambda: door.admit(scope, dict(SENT))
    yield "the question's fields", lambda: LLMRequest.parse(Operation.CHAT, QUESTION)
    yield "cache controls", lambda: controls_of(headers, REQUEST)
    yield "cache key", lambda: key_of(REQUEST, tenant="budget")
    yield "the question for the provider", lambda: REQUEST.to_json(model="mock-gpt")


def after_it(container: Container, door: Any) -> Parts:
    task = asyncio.current_task()
    assert task is not None
    metrics, journal = container.monitoring.metrics(), container.monitoring.journal()
    (caching, _), drain, health = container.services.stages(), container.services.drain(), container.health.service()
    (provider,) = container.upstream.adapters()
    reader = provider._reader
    yield "the answer's usage and end", lambda: reader.whole(Operation.CHAT, ANSWER, REPLY)
    yield "storing the answer", lambda: caching._store(b"k" * 32, REPLY, ANSWER, stream=False, ttl=60)
    passed, settled = container.monitoring.passed(), container.monitoring.settled()
    yield "metrics of an attempt", lambda: metrics.providers.attempted("mock", 0.01)
    standings = container.upstream.standings()

    def looked_at() -> None:
        standing = standings.of("mock")
        if not standing.known:
            standing.retries.calls += 1

    yield "whether it is left alone", looked_at
    yield "health", lambda: health.attempted("mock", None, hurts=False)
    yield "metrics of a call (128 at once)", lambda: settled.add(OUTCOME)
    yield "metrics of an answer (128 at once)", lambda: passed.add(PASSAGE)
    yield "marks of a passage", lambda: [time.perf_counter() for _ in range(8)]
    yield "log line", lambda: journal.record(OUTCOME)
    yield "request id and head", lambda: lines_of(REPLY, request_id=door.request_id(None), passage=PASSAGE)
    yield "calls in flight", lambda: (drain.enter(task), drain.leave(task), Presence(task))
    yield (
        "where a call is",
        lambda: (
            metrics.providers.moved("", "none", ""),
            metrics.providers.moved("none", "mock", "mock-gpt"),
            metrics.providers.moved("mock", "", "mock-gpt"),
        ),
    )


async def main() -> None:
    container = Container(settings=SETTINGS)
    app = create_server(container)._app
    async with app.lifespan():
        total = 0.0
        door = app.state.door
        for name, part in [*before_the_provider(door), *after_it(container, door)]:
            spent = cost(part)
            total += spent
            print(f"{spent:7.2f}  {name}", file=sys.stderr)
        print(f"{total:7.2f}  together", file=sys.stderr)


if __name__ == "__main__":
    uvloop.run(main())
