"""Bodies of callers: what is taken is what the standard library's reader would have taken, and is sent as it was."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from app.cache.keys import NOT_PART_OF_THE_QUESTION, key_of
from app.controllers.cache_controls import LONGEST_TTL, controls_of
from app.domain.errors import InvalidRequestError
from app.domain.llm import MODEL_LENGTH, LLMRequest, Operation
from tests.fuzz.mutating import fuzzed

SHAPES = {Operation.CHAT: list, Operation.COMPLETION: (list, str), Operation.EMBEDDING: (list, str)}
QUESTIONS = {Operation.CHAT: "messages", Operation.COMPLETION: "prompt", Operation.EMBEDDING: "input"}


def parsed(operation: Operation, data: bytes) -> LLMRequest | None:
    try:
        return LLMRequest.parse(operation, data)
    except InvalidRequestError as error:
        assert error.message.isprintable(), error.message
        return None


def reference(data: bytes) -> Any:
    """The same by the standard library, which takes NaN and BOMs where we do not; None where it takes nothing."""
    try:
        return json.loads(data.decode(), parse_constant=lambda _: 1 / 0)
    except (ValueError, ArithmeticError, RecursionError):
        return None


@fuzzed("bodies")
def test_what_is_taken_is_json_and_every_field_reaches_the_provider(data: bytes) -> None:
    said = reference(data)
    for operation in Operation:
        request = parsed(operation, data)
        if request is None:
            continue
        assert isinstance(said, dict)
        assert request.model == said["model"]
        assert 0 < len(request.model) <= MODEL_LENGTH
        assert isinstance(said[QUESTIONS[operation]], SHAPES[operation])
        assert request.stream is (said.get("stream") is True)
        sent = json.loads(request.to_json(model="other"))
        said_here = {name: value for name, value in said.items() if name != "cache"} | {"model": "other"}
        if sent.pop("stream_options", None) != said_here.pop("stream_options", None):
            assert request.stream
            assert not request.usage_wanted
        assert sent == said_here


@fuzzed("bodies")
def test_what_is_refused_is_no_body_of_ours(data: bytes) -> None:
    said = reference(data)
    if not isinstance(said, dict) or data.startswith(b"\xef\xbb\xbf"):
        assert all(parsed(operation, data) is None for operation in Operation)
        return
    model, messages = said.get("model"), said.get("messages")
    good = isinstance(model, str) and model.isprintable() and model == model.strip() and 0 < len(model) <= MODEL_LENGTH
    flags = said.get("stream") in {True, False, None} if isinstance(said.get("stream"), bool | None) else False
    options = said.get("stream_options")
    usage = options.get("include_usage") if isinstance(options, dict) else None
    plain = options is None or (isinstance(options, dict) and (usage is None or isinstance(usage, bool)))
    if good and flags and plain and isinstance(messages, list) and b"\\u" not in data and b"e" not in data:
        assert parsed(Operation.CHAT, data) is not None


@fuzzed("bodies")
def test_the_same_question_has_the_same_key_whatever_its_order(data: bytes) -> None:
    request = parsed(Operation.CHAT, data)
    if request is None:
        return
    key = key_of(request, tenant="a")
    fields = dict(reversed(request.fields.items()))
    turned = LLMRequest(request.operation, request.model, request.stream, request.usage_wanted, fields)
    assert (len(key), key) == (32, key_of(turned, tenant="a"))
    assert key != key_of(request, tenant="b")
    for name in fields:
        without = {each: value for each, value in fields.items() if each != name}
        other = LLMRequest(request.operation, request.model, request.stream, request.usage_wanted, without)
        assert (key == key_of(other, tenant="a")) is (name in NOT_PART_OF_THE_QUESTION)


@fuzzed("bodies")
def test_wishes_of_the_cache_are_in_their_range(data: bytes) -> None:
    request = parsed(Operation.CHAT, data)
    if request is None:
        return
    try:
        controls = controls_of({}, request)
    except InvalidRequestError as error:
        assert error.param == "cache"
        return
    assert controls.ttl is None or 0 < controls.ttl <= LONGEST_TTL
    assert controls.max_age is None or controls.max_age == controls.max_age


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300_000), st.sampled_from([(b"[", b"]"), (b'{"a":', b"}")]))
def test_depth_is_refused_and_never_an_error_of_another_kind(depth: int, brackets: tuple[bytes, bytes]) -> None:
    opening, closing = brackets
    body = b'{"model":"m","messages":[],"a":' + opening * depth + b"1" + closing * depth + b"}"

    request = parsed(Operation.CHAT, body)

    assert request is None or len(key_of(request, tenant="a")) == 32
