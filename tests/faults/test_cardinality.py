"""Whoever makes up names, paths and methods by the thousand makes no new series, and every sum stays exact."""

from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from tests.support.failures import question
from tests.support.flood import statuses
from tests.support.processes import GatewayProcess, gateway_process, provider_process
from tests.support.raw import Wire, head, request

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

NAMES = 8_000
PATHS = 40_000
METHODS = 1_000
LARGEST_BYTES = 1_000_000
CHAT = "/v1/chat/completions"
PLACES = ("/{}", "/v1/{}", "/v1/models/{}", "/api/usage/{}", "/monitoring/{}", "/metrics/{}", "/metrics?format={}")
KNOWN_METHODS = ("PROPFIND", "MKCOL", "REPORT", "M-SEARCH", "PURGE", "UNLINK", "SOURCE", "TRACE", "PUT", "DELETE")


@pytest.fixture
def attacked(tmp_path: Path) -> Iterator[GatewayProcess]:
    with provider_process() as provider:
        rows = {"primary": {"base_url": provider.base_url("primary")}}
        with gateway_process(tmp_path, {"providers": rows, "log": {"calls": False}}) as process:
            yield process


def names(gateway: GatewayProcess, count: int, kind: str) -> list[bytes]:
    """As many listed by nobody as asked of a provider that answers to any name."""
    models = chain.from_iterable((f"{kind}-{number}", f"primary/{kind}-{number}") for number in range(count // 2))
    return [request(gateway.port, question(model, user=model)) for model in models]


def paths(gateway: GatewayProcess, count: int, kind: str) -> list[bytes]:
    each = [place.format(f"{kind}-{number}") for number in range(count // len(PLACES) + 1) for place in PLACES]
    return [head(gateway.port, method="GET", path=path) for path in each[:count]]


def known_methods(gateway: GatewayProcess, count: int) -> list[bytes]:
    return [head(gateway.port, method=KNOWN_METHODS[number % len(KNOWN_METHODS)]) for number in range(count)]


def unknown_methods(gateway: GatewayProcess, count: int, kind: str) -> Counter[int]:
    """The parser stops at them, and the connection is closed."""
    found: Counter[int] = Counter()
    for number in range(count):
        with Wire(gateway.port) as wire:
            wire.send(head(gateway.port, method=f"{kind.upper()}{number}"))
            found[wire.answer().status_code] += 1
    return found


def attack(gateway: GatewayProcess, kind: str, *, names_: int, paths_: int, methods: int) -> Counter[int]:
    found = statuses(gateway.port, names(gateway, names_, kind))
    found += statuses(gateway.port, paths(gateway, paths_, kind))
    found += statuses(gateway.port, known_methods(gateway, methods))
    return found + unknown_methods(gateway, methods, kind)


def samples(gateway: GatewayProcess) -> dict[str, float]:
    lines = [line for line in gateway.client.get("/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def summed(found: dict[str, float], name: str, *parts: str) -> float:
    """Of all samples of that name that have these labels."""
    return sum(
        value
        for sample, value in found.items()
        if sample.split("{")[0] == name and all(each in sample for each in parts)
    )


def test_M_01_no_name_anybody_makes_up_becomes_a_series(attacked: GatewayProcess) -> None:
    """50,000 requests with models, users, paths and methods that are nowhere else.

    Happens: not one new series; every sum stays exact.
    Seen: `model="unknown"`, `route="unmatched"`, `method="other"`; `llm_metric_overflows_total` stays 0.
    """
    attack(attacked, "first", names_=20, paths_=20, methods=20)
    samples(attacked)
    before = samples(attacked)

    answered = attack(attacked, "nonsense", names_=NAMES, paths_=PATHS, methods=METHODS)
    after = samples(attacked)

    def more(name: str, *parts: str) -> float:
        return summed(after, name, *parts) - summed(before, name, *parts)

    machines = {each for each in after if each.startswith("llm_health_")}  # a busy machine may turn
    assert after.keys() - machines == before.keys() - machines
    assert len(attacked.client.get("/metrics").content) < LARGEST_BYTES
    assert not [sample for sample in after if "nonsense" in sample.lower()]
    assert summed(after, "llm_metric_overflows_total") == 0

    sent = NAMES + PATHS + 2 * METHODS
    assert answered.total() == sent
    assert more("http_requests_total") == sent + 1, "the scrape before is one of them"
    assert {status: more("http_requests_total", f'status="{status}"') for status in answered} == {
        status: count + (status == 200) for status, count in answered.items()
    }
    assert more("http_requests_total", 'method="POST"', f'route="{CHAT}"') == NAMES
    assert more("http_requests_total", 'method="other"') == METHODS + METHODS * 8 / 10, "PUT and DELETE have names"
    assert more("http_request_duration_seconds_count") == sent + 1 - METHODS, "what was never read took no time"
    assert more("llm_requests_total", 'provider="none"', 'status="error"') == NAMES / 2
    assert more("llm_requests_total", 'provider="primary"', 'status="success"') == NAMES / 2
    assert more("llm_request_errors_total", 'error_type="model_not_found"') >= NAMES / 2
    assert more("model_inference_total", 'model="unknown"') == NAMES / 2
    assert more("llm_provider_requests_total", 'provider="primary"') == NAMES / 2
    assert more("llm_model_tokens_total", 'model="unknown"', 'type="prompt"') == 7 * NAMES / 2
    assert more("llm_cache_misses_total") >= NAMES / 2
