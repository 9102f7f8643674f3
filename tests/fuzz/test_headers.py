"""Headers of callers and of providers: nothing in them is an error of another kind, and what is read is in range."""

import re

from app.controllers.cache_controls import HEADERS, LONGEST_TTL, controls_of
from app.controllers.door import REQUEST_ID
from app.controllers.metrics import takes_gzip
from app.controllers.visitors import Visitors, calls_us_local
from app.domain.controls import AS_CONFIGURED
from app.domain.errors import AuthenticationError, InvalidRequestError, PermissionDeniedError
from app.domain.llm import LLMRequest, Operation
from app.domain.trace import parse_traceparent, traceparent
from app.monitoring.metrics import CLASSIC, OPEN_METRICS, exposition_type
from app.providers.errors import retry_after_of
from app.providers.upstream.base import Answer
from app.services.keys import KeyService
from app.settings import KeySettings, Secret
from tests.fuzz.mutating import fuzzed

REQUEST = LLMRequest.parse(Operation.CHAT, b'{"model":"m","messages":[]}')
KEYS = KeyService({"alice": KeySettings(key=Secret("sk-alice"))})
LOOPBACK = re.compile(
    rb"(localhost|127\.\d+\.\d+\.\d+|\[[0:]*:0*1\]|\[::ffff:127\.[0-9.]+\]|\[::ffff:7f[0-9a-f:]+\])(:\d+)?", re.I
)


@fuzzed("headers")
def test_wishes_of_the_cache_are_read_or_passed_over(data: bytes) -> None:
    for name in HEADERS:
        controls = controls_of({name: data}, REQUEST)
        assert controls.ttl is None or 0 < controls.ttl <= LONGEST_TTL
        assert controls.max_age is None or 0 <= controls.max_age <= LONGEST_TTL
    assert controls_of({REQUEST_ID: data}, REQUEST) == AS_CONFIGURED


@fuzzed("headers")
def test_a_traceparent_is_one_or_nothing(data: bytes) -> None:
    found = parse_traceparent(data)
    if found is None:
        return
    trace_id, span_id, sampled = found
    assert data.strip()[3:52].decode() == f"{trace_id}-{span_id}"
    assert parse_traceparent(traceparent(trace_id, span_id, sampled=sampled).encode()) == found


@fuzzed("headers")
def test_a_wait_is_a_number_of_seconds_or_nothing(data: bytes) -> None:
    for name in (b"retry-after", b"Retry-After-Ms"):
        wait = retry_after_of(Answer(429, [(name, data)], b""))
        assert wait is None or 0 <= wait < 1e12


@fuzzed("headers")
def test_metrics_are_of_one_of_two_kinds_whatever_is_accepted(data: bytes) -> None:
    accepted = data.decode("latin-1")

    assert exposition_type(accepted) in {CLASSIC, OPEN_METRICS}
    assert not takes_gzip(accepted) or "gzip" in accepted.lower()


@fuzzed("headers")
def test_only_a_loopback_name_is_local_and_only_one_key_opens(data: bytes) -> None:
    assert not calls_us_local({b"host": data}) or LOOPBACK.fullmatch(data)
    visitors = Visitors(origins=("http://good.test",), loopback_only=True)
    for headers in ({b"host": data}, {b"host": b"localhost", b"origin": data}):
        try:
            visitors.check(list(headers.items()), headers)
        except (InvalidRequestError, PermissionDeniedError):
            continue
        assert LOOPBACK.fullmatch(headers[b"host"])
        assert headers.get(b"origin", b"http://good.test") in {
            b"http://good.test",
            b"http://localhost",
            b"https://localhost",
        }
    for authorization, api_key in ((data, b""), (b"", data)):
        try:
            KEYS.authenticate(authorization, api_key)
        except AuthenticationError:
            continue
        assert b"sk-alice" in data
