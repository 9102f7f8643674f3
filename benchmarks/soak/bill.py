"""The gateway's counters, the provider's and the log, held against what the generator did: to the last call."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from benchmarks.soak.cases import CASES, Case
from benchmarks.soak.ledger import Ledger, Sample
from benchmarks.soak.provider import Ledger as ProviderLedger

CHECKED = frozenset(
    {
        "http_requests_total",
        "llm_request_errors_total",
        "llm_requests_total",
        "llm_request_duration_seconds_count",
        "llm_time_to_first_chunk_seconds_count",
        "llm_streams_total",
        "llm_provider_requests_total",
        "llm_provider_errors_total",
        "llm_provider_latency_seconds_count",
        "llm_token_usage_total",
        "llm_cache_hits_total",
        "llm_cache_misses_total",
        "llm_cache_bypasses_total",
        "llm_cache_tokens_saved_total",
    }
)
MOST_TOLD = 20

_label = re.compile(r'(\w+)="([^"]*)"')
_number = re.compile(r"(.+)\.(\d+)").fullmatch


def samples_of(exposition: str) -> dict[Sample, float]:
    """Every sample that is not 0, its labels in order."""
    found: dict[Sample, float] = {}
    for line in exposition.splitlines():
        if not line.startswith("#"):
            sample, _, value = line.rpartition(" ")
            name, _, labels = sample.partition("{")
            if float(value):
                found[name, tuple(sorted(_label.findall(labels)))] = float(value)
    return found


def metrics_differ(samples: Mapping[Sample, float], ledger: Ledger) -> Iterator[str]:
    told = {sample: value for sample, value in samples.items() if sample[0] in CHECKED}
    done = {sample: float(value) for sample, value in ledger.samples.items() if value}
    for sample in sorted(told.keys() | done.keys()):
        if told.get(sample) != done.get(sample):
            name, labels = sample
            written = ",".join(f'{label}="{value}"' for label, value in labels)
            yield f"{name}{{{written}}} is {told.get(sample, 0):g}, and {done.get(sample, 0):g} were sent"
    for (name, labels), value in samples.items():
        if name == "llm_active_requests":
            yield f"{name}{dict(labels)} is {value:g} at the end"


def cache_differs(samples: Mapping[Sample, float], ledger: Ledger, most_bytes: int) -> Iterator[str]:
    """Nothing expires in a soak: what was stored is there, or had to make room."""
    keys, evictions, size, errors = (
        samples.get((f"llm_cache_{name}", ()), 0)
        for name in ("keys_total", "evictions_total", "memory_bytes", "errors_total")
    )
    if keys + evictions != ledger.stored:
        yield f"{ledger.stored} answers were to be stored; {keys:g} are there and {evictions:g} were evicted"
    if not evictions:
        yield "the cache was never full"
    if size > most_bytes:
        yield f"the cache holds {size:g} bytes of {most_bytes}"
    if errors:
        yield f"{errors:g} cache operations failed"


def provider_differs(said: ProviderLedger, samples: Mapping[Sample, float], ledger: Ledger) -> Iterator[str]:
    for row in ("main", "backup", "hasty"):
        counted = samples.get(("llm_provider_requests_total", (("provider", row),)), 0)
        came, replayed = said.questions.get(row, 0), said.replays.get(row, 0)
        if came - replayed != counted:
            yield f"{row} was asked {came} times, {replayed} of them replays; counted {counted:g}"
        for kind, used in (("prompt", said.prompt_tokens), ("completion", said.completion_tokens)):
            counted = samples.get(("llm_token_usage_total", (("provider", row), ("type", kind))), 0)
            if counted != used.get(row, 0):
                yield f"{row} used {used.get(row, 0)} {kind} tokens; counted {counted:g}"
    deserted = {
        "main": sum(len(ledger.calls[name]) for name in ("left", "left-stream", "left-stalled", "leader-of-none")),
        "hasty": len(ledger.calls["late"]),
    }
    if +Counter(said.deserted) != +Counter(deserted):
        yield f"the provider was left in mid-answer {said.deserted} times, and should have been {deserted}"


class Line(msgspec.Struct):
    """A line of the log, in whole or in part."""

    event: str
    request_id: str = ""
    status: str = ""
    key: str = ""
    operation: str = ""
    model: str = ""
    provider: str = ""
    stream: bool = False
    cache: str = ""
    attempts: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    route: str = ""
    code: int = 0


def expected(name: str, number: int, case: Case) -> Line:
    id_ = f"{name}.{number}"
    if not case.call:
        return Line("refused", id_, case.status, route=case.route, code=case.code)
    prompt, completion = case.tokens(number)
    return Line(
        "call",
        id_,
        case.status,
        case.key,
        case.operation,
        case.model,
        case.provider,
        case.stream,
        case.cache,
        ",".join(case.attempts),
        prompt,
        completion,
    )


def as_line(name: str, number: int) -> bytes:
    return msgspec.json.encode(expected(name, number, CASES[name])) + b"\n"


def log_differs(lines: Iterable[bytes], ledger: Ledger) -> Iterator[str]:
    """One line for each call and refusal, and each says what its case says."""
    missing = {name: set(numbers) for name, numbers in ledger.calls.items()}
    others: Counter[str] = Counter()
    for raw in lines:
        line = _decode(raw)
        if line.event not in {"call", "refused"}:
            others[line.event] += 1
            continue
        found = _number(line.request_id)
        name, number = (found[1], int(found[2])) if found else ("", 0)
        if number not in missing.get(name, ()):
            yield f"a line too many: {raw.decode().rstrip()}"
            continue
        missing[name].remove(number)
        if line != (wanted := expected(name, number, CASES[name])):
            yield f"{line} should be {wanted}"
    for name, numbers in missing.items():
        if numbers:
            yield f"{len(numbers)} lines are missing of {name}, such as {name}.{min(numbers)}"
    for event, count in others.items():
        if event not in EXPECTED_EVENTS:
            yield f"{count} lines say {event!r}"


EXPECTED_EVENTS = frozenset({"configuration loaded", "health changed", "stopped"})


def log_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


_decode = msgspec.json.Decoder(Line).decode
