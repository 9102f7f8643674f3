"""Many who ask the same at once."""

import json
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx

from tests.support.processes import GatewayProcess, answer, event, stream
from tests.support.provider_faults import DONE, GATE, eventually

FIRST = event("whole")
LAST = event("end", "stop")
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
USED = b"data: " + json.dumps({"choices": [], "usage": USAGE}).encode() + b"\n\n"
DOCUMENT = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}], "usage": USAGE}
SLOW = {False: [GATE, *answer(DOCUMENT)], True: stream(FIRST, GATE, LAST, USED, DONE)}
WHOLE = {False: json.dumps(DOCUMENT).encode(), True: FIRST + LAST + DONE}


def active(gateway: GatewayProcess) -> float:
    """How many calls are on their way: all who asked, once they have got so far."""
    return sum(gateway.metric("llm_active_requests", provider=name) for name in ("none", "primary"))


def asked_by(
    many: int, threads: ThreadPoolExecutor, gateway: GatewayProcess, model: str, **fields: Any
) -> list[Future[httpx.Response]]:
    """So many identical calls, all on their way when this returns."""
    others = active(gateway)
    asked = [threads.submit(partial(gateway.chat, f"primary/{model}", messages=[], **fields)) for _ in range(many)]
    eventually(lambda: active(gateway) == others + many, "all have asked")
    return asked


def noticed(gateway: GatewayProcess) -> None:
    """Who has left by now is known to have left: later connections were served."""
    for _ in range(3):
        httpx.get(f"{gateway.url}/health/live", trust_env=False).raise_for_status()
