"""What is asked leaves as it came, but for the few words that are ours."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import Failure, InvalidRequestError
from app.domain.llm import MODEL_LENGTH, LLMRequest, Operation

START = b'{"model":"m","messages":[]'
OURS = {"model", "messages", "stream", "stream_options", "cache"}
NAMES = st.text("abcdefgh_XYZ09 é", min_size=1, max_size=8).filter(lambda name: name not in OURS)
VALUES = st.sampled_from(
    [
        "1e2",
        "1E+2",
        "-0",
        "-0.0",
        "1.50",
        "0.1000",
        "12345678901234567890123",
        "true",
        "null",
        '""',
        '"\\u00e9\\/"',
        '"é"',
        '"a\\"}b"',
        "[1 ,  2]",
        '{ "a" : null }',
        '{"a":1,"a":2}',
        "[\n]",
        "[[],{}]",
    ]
)
GAPS = st.sampled_from(["", " ", "\n\t ", "\r\n"])


def chat(*fields: bytes) -> LLMRequest:
    """A chat with more fields, each written `"name":value`."""
    return LLMRequest.parse(Operation.CHAT, b",".join([START, *fields]) + b"}")


@given(st.dictionaries(NAMES, VALUES, max_size=6), GAPS)
def test_every_value_leaves_byte_for_byte_and_in_its_order(fields: dict[str, str], gap: str) -> None:
    pairs = [(json.dumps(name, ensure_ascii=False), value) for name, value in fields.items()]
    body = START.decode() + "".join(f"{gap},{gap}{name}{gap}:{gap}{value}{gap}" for name, value in pairs) + "}"

    sent = LLMRequest.parse(Operation.CHAT, body.encode()).to_json(model="theirs")

    rest = "".join(f",{name}:{value}" for name, value in pairs)
    assert sent.decode() == '{"model":"theirs","messages":[]' + rest + "}"


@given(st.lists(VALUES, min_size=2, max_size=5))
def test_of_a_duplicate_key_only_the_last_value_is_sent(values: list[str]) -> None:
    sent = chat(*(f'"x":{value}'.encode() for value in values)).to_json(model="m")

    assert sent == START + f',"x":{values[-1]}}}'.encode()


def test_what_is_checked_of_a_duplicate_key_is_what_is_sent() -> None:
    body = b'{"model":"one","messages":[],"stream":true,"model":"two","str\\u0065am":false,"messages":[1]}'

    request = LLMRequest.parse(Operation.CHAT, body)

    assert (request.model, request.stream) == ("two", False)
    assert request.to_json(model=request.model) == b'{"model":"two","messages":[1],"stream":false}'


def test_a_duplicate_key_cannot_hide_a_wrong_value() -> None:
    with pytest.raises(InvalidRequestError, match="stream must be"):
        chat(b'"stream":false', b'"stream":"yes"')


@pytest.mark.parametrize("operation", list(Operation))
def test_the_model_is_replaced_and_the_cache_field_stays_here(operation: Operation) -> None:
    body = b'{"cache":{"ttl":1},"model":"ours","messages":[],"prompt":"","input":[]}'
    request = LLMRequest.parse(operation, body)

    sent = request.to_json(model='vendor/"x":free')

    assert sent == b'{"model":"vendor/\\"x\\":free","messages":[],"prompt":"","input":[]}'
    assert request.model == "ours"
    assert "cache" in request.fields


@pytest.mark.parametrize("options", [b"", b',"stream_options":null', b',"stream_options":{}'])
@pytest.mark.parametrize("operation", [Operation.CHAT, Operation.COMPLETION])
def test_usage_is_asked_of_a_stream(operation: Operation, options: bytes) -> None:
    body = b'{"model":"m","messages":[],"prompt":[],"stream":true' + options + b"}"

    request = LLMRequest.parse(operation, body)

    assert not request.usage_wanted
    assert json.loads(request.to_json(model="m"))["stream_options"] == {"include_usage": True}


def test_the_other_stream_options_are_kept() -> None:
    request = chat(b'"stream":true', b'"stream_options":{"include_usage":false,"chunk":1e2,"deep":{ "a" : 1 }}')

    sent = request.to_json(model="m")

    assert not request.usage_wanted
    assert b'"stream_options":{"include_usage":true,"chunk":1e2,"deep":{ "a" : 1 }}' in sent


def test_who_wants_the_usage_sends_the_options_unchanged() -> None:
    options = b'"stream_options":{ "a":1e2 , "include_usage" : true }'

    request = chat(b'"stream":true', options)

    assert request.usage_wanted
    assert request.to_json(model="m") == START + b',"stream":true,' + options + b"}"


@pytest.mark.parametrize("stream", [b"", b',"stream":false', b',"stream":null'])
def test_usage_is_not_asked_of_what_is_no_stream(stream: bytes) -> None:
    body = START + stream + b"}"

    request = LLMRequest.parse(Operation.CHAT, body)

    assert not request.stream
    assert request.to_json(model="m") == body


def test_embeddings_are_left_untouched() -> None:
    body = b'{"model":"m","input":[ 1e0 ],"stream":true,"stream_options":{ }}'

    assert LLMRequest.parse(Operation.EMBEDDING, body).to_json(model="m") == body


WRONG: list[tuple[bytes, str | None, str]] = [
    (b"", None, "is not JSON"),
    (b"{", None, "is not JSON"),
    (b"\xef\xbb\xbf{}", None, "is not JSON"),
    (START + b"} x", None, "is not JSON"),
    (START + b',"x":[01]}', None, "is not JSON"),
    (START + b',"x":"\\q"}', None, "is not JSON"),
    (START + b',"x":"\xff"}', None, "is not JSON"),
    (START + b',"x":"\\ud800"}', None, "is not JSON"),
    (b"[]", None, "must be a JSON object"),
    (b"null", None, "must be a JSON object"),
    (START + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", None, "nested too deeply"),
    (b'{"messages":[]}', "model", "is missing"),
    (b'{"model":null,"messages":[]}', "model", "must be a string"),
    (b'{"model":1,"messages":[]}', "model", "must be a string"),
    (b'{"model":"","messages":[]}', "model", "visible characters"),
    (b'{"model":" m","messages":[]}', "model", "visible characters"),
    (b'{"model":"a\\nb","messages":[]}', "model", "visible characters"),
    (b'{"model":"a\\u0000","messages":[]}', "model", "visible characters"),
    (b'{"model":"a\\u202eb","messages":[]}', "model", "visible characters"),
    (b'{"model":"m"}', "messages", "is missing"),
    (b'{"model":"m","messages":"hi"}', "messages", "must be a list"),
    (b'{"model":"m","messages":null}', "messages", "must be a list"),
    (START + b',"stream":1}', "stream", "must be true, false or null"),
    (START + b',"stream_options":[]}', "stream_options", "must be an object or null"),
    (START + b',"stream_options":{"include_usage":"yes"}}', "stream_options", "must be an object or null"),
]


@pytest.mark.parametrize(("body", "param", "says"), WRONG, ids=[str(number) for number, _ in enumerate(WRONG)])
def test_what_cannot_be_used_is_refused_and_the_field_named(body: bytes, param: str | None, says: str) -> None:
    with pytest.raises(InvalidRequestError, match=says) as caught:
        LLMRequest.parse(Operation.CHAT, body)

    assert caught.value.word is Failure.INVALID_REQUEST
    assert caught.value.param == param


@pytest.mark.parametrize(("operation", "name"), [(Operation.COMPLETION, "prompt"), (Operation.EMBEDDING, "input")])
def test_a_question_may_be_a_string_or_a_list(operation: Operation, name: str) -> None:
    def parse(value: Any) -> LLMRequest:
        return LLMRequest.parse(operation, json.dumps({"model": "m", name: value}).encode())

    assert [parse(good).operation for good in ("hi", ["hi"], [1, 2], [])] == [operation] * 4
    for wrong in (None, 1, {"a": 1}, False):
        with pytest.raises(InvalidRequestError, match="a string or a list") as caught:
            parse(wrong)
        assert caught.value.param == name
    with pytest.raises(InvalidRequestError, match="is missing"):
        LLMRequest.parse(operation, START + b"}")


@pytest.mark.parametrize("model", ["m" * MODEL_LENGTH, "vendor/any:free", "modèle 7", "模型"])
def test_a_models_name_may_be_anything_visible(model: str) -> None:
    body = json.dumps({"model": model, "messages": []}).encode()

    assert LLMRequest.parse(Operation.CHAT, body).model == model


def test_a_models_name_has_a_longest_length() -> None:
    body = json.dumps({"model": "m" * (MODEL_LENGTH + 1), "messages": []}).encode()

    with pytest.raises(InvalidRequestError, match="visible characters"):
        LLMRequest.parse(Operation.CHAT, body)


@pytest.mark.parametrize(
    ("n", "choices"),
    [("2", 2), ("1", 1), ("null", 1), ("0", 1), ("-3", 1), ('"two"', 1), ("[2]", 1), ("1e400", 1), ("9" * 5000, 1)],
)
def test_how_many_choices_are_asked_for_is_read_where_it_can_be(n: str, choices: int) -> None:
    assert LLMRequest.parse(Operation.CHAT, START + b',"n":' + n.encode() + b"}").choices == choices
    assert LLMRequest.parse(Operation.CHAT, START + b"}").choices == 1
