"""What is asked, and how each must end: in the words of the answer, of the metrics and of the log."""

from msgspec import Struct

from benchmarks.soak.questions import tokens_of

KEYS = {"web": "k-web-0123456789", "batch": "k-batch-0123456789"}
ROUTES = {"either": ["main:limits", "backup:well"]}
NOBODY = 499
"""The status of an answer for which nobody was left."""


class Case(Struct, frozen=True, kw_only=True):
    model: str = "main/well"
    stream: bool = False
    fields: tuple[str, ...] = ()
    """Header lines of its own."""
    key: str = "web"
    code: int = 200
    status: str = "ok"
    """Its word in the log."""
    told: bool = True
    """Whether the word of a failure was the answer: the caller was there, and the status line not yet sent."""
    call: bool = True
    """Whether it became a call, and not merely a refusal."""
    provider: str = "main"
    cache: str = "miss"
    attempts: tuple[str, ...] = ("main:ok",)
    used: bool = True
    """Whether the tokens of its answer were counted."""
    stored: bool = True
    method: str = "POST"
    route: str = "/v1/chat/completions"

    @property
    def operation(self) -> str:
        return self.route.removeprefix("/v1/")

    @property
    def shared(self) -> bool:
        """Whether the answer was another call's."""
        return self.cache in {"hit", "coalesced"}

    def tokens(self, number: int) -> tuple[int, int]:
        prompt, completion = tokens_of(number) if self.used else (0, 0)
        return prompt, 0 if self.operation == "embeddings" else completion


def failed(model: str, code: int, status: str, *attempts: str, stream: bool = False) -> Case:
    """An error of the provider's, told as such; the last attempt is what the caller hears of."""
    provider = attempts[-1].partition(":")[0]
    return Case(
        model=model,
        code=code,
        status=status,
        provider=provider,
        attempts=attempts,
        stream=stream,
        used=False,
        stored=False,
    )


def refused(code: int, status: str, **fields: object) -> Case:
    """What never became a call."""
    return Case(code=code, status=status, call=False, attempts=(), used=False, stored=False, **fields)  # type: ignore[arg-type] # its own


def left(**fields: object) -> Case:
    """A stream whose caller has gone after its first events."""
    return Case(stream=True, status="client_disconnected", told=False, **fields)  # type: ignore[arg-type] # its own


ALONE = {
    "json": Case(),
    "embedding": Case(route="/v1/embeddings"),
    "completion": Case(route="/v1/completions"),
    "stream": Case(stream=True),
    "refresh": Case(cache="bypass", fields=("cache-control: no-cache",)),
    "unstored": Case(stored=False, fields=("cache-control: no-store",)),
    "untouched": Case(cache="bypass", stored=False, fields=("x-openrouter-cache: false",), stream=True),
    "recovered": Case(model="main/recovers", attempts=("main:upstream_error", "main:ok")),
    "recovered-stream": Case(model="main/recovers", attempts=("main:upstream_error", "main:ok"), stream=True),
    "returned": Case(model="main/returns", attempts=("main:upstream_rate_limited", "main:ok")),
    "fallback": Case(model="either", provider="backup", attempts=("main:upstream_rate_limited", "backup:ok")),
    "failed": failed("main/fails", 502, "upstream_error", *["main:upstream_error"] * 3),
    "failed-stream": failed("main/fails", 502, "upstream_error", *["main:upstream_error"] * 3, stream=True),
    "unreachable": failed("gone/well", 502, "upstream_connect", *["gone:upstream_connect"] * 3),
    "limited": failed("main/limits", 429, "upstream_rate_limited", "main:upstream_rate_limited"),
    "reset": failed("main/resets", 502, "upstream_error", "main:upstream_error"),
    "reset-stream": failed("main/resets", 502, "upstream_error", "main:upstream_error", stream=True),
    "garbled": failed("main/garbles", 502, "upstream_malformed", "main:upstream_malformed"),
    "empty": failed("main/empties", 502, "upstream_empty", "main:upstream_empty"),
    "cut": failed("main/cuts", 502, "upstream_truncated", "main:upstream_truncated"),
    "late": failed("hasty/holds", 504, "upstream_timeout", "hasty:upstream_timeout"),
    "cut-stream": Case(
        model="main/cuts",
        stream=True,
        status="upstream_truncated",
        told=False,
        used=False,
        stored=False,
        attempts=("main:upstream_truncated",),
    ),
    "unknown-model": Case(
        model="nobody-has-it",
        code=404,
        status="model_not_found",
        provider="none",
        attempts=(),
        used=False,
        stored=False,
    ),
    "only-if-cached": Case(
        code=504,
        status="not_found",
        provider="none",
        attempts=(),
        used=False,
        stored=False,
        fields=("cache-control: only-if-cached",),
    ),
    "wrong-key": refused(401, "authentication", key="nobody"),
    "malformed": refused(400, "invalid_request", model="main/well"),
    "no-such-path": refused(404, "not_found", route="unmatched"),
    "no-such-method": refused(405, "method_not_allowed", method="PUT"),
}
"""What one caller does alone, reading each answer to its end."""

AGAIN = {
    "asked": Case(),
    "asked-again": Case(cache="hit", attempts=()),
    "stream-asked": Case(stream=True),
    "stream-asked-again": Case(stream=True, cache="hit", attempts=()),
    "other-tenant": Case(key="batch"),
}
LEFT = {
    "left": Case(
        model="main/holds",
        code=NOBODY,
        status="client_disconnected",
        told=False,
        used=False,
        stored=False,
        attempts=("main:client_disconnected",),
    ),
    "left-stream": left(model="main/holds", used=False, stored=False),
    "left-stalled": left(model="main/floods", used=False, stored=False),
    "left-waiting": Case(
        model="main/postpones",
        code=NOBODY,
        status="client_disconnected",
        told=False,
        used=False,
        stored=False,
        attempts=("main:upstream_rate_limited",),
    ),
    "left-body": refused(NOBODY, "client_disconnected"),
}
SHARED = {
    "leader": Case(model="main/waits", stream=True),
    "follower": Case(model="main/waits", stream=True, cache="coalesced", attempts=()),
    "leader-left": left(model="main/waits"),
    "follower-left": left(model="main/waits", cache="coalesced", attempts=(), used=False, stored=False),
    "leader-of-none": left(model="main/holds", used=False, stored=False),
    "last-follower-left": left(model="main/holds", cache="coalesced", attempts=(), used=False, stored=False),
    "leader-cut": Case(
        model="main/breaks",
        stream=True,
        status="upstream_truncated",
        told=False,
        used=False,
        stored=False,
        attempts=("main:upstream_truncated",),
    ),
    "follower-cut": Case(
        model="main/breaks",
        stream=True,
        status="upstream_truncated",
        told=False,
        used=False,
        stored=False,
        cache="coalesced",
        attempts=(),
    ),
}
CASES = ALONE | AGAIN | LEFT | SHARED
