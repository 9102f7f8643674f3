"""The same question has the same key, another question another one."""

import json
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from app.cache.keys import NOT_PART_OF_THE_QUESTION, key_of
from app.domain.llm import LLMRequest, Operation

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(
    lambda name: name not in NOT_PART_OF_THE_QUESTION | {"model", "messages", "stream"}
)
EXTRAS = st.dictionaries(NAMES, JSON_VALUES, max_size=4)


def key(fields: dict[str, Any], tenant: str = "alice", *, gap: str = "") -> bytes:
    written = ("," + gap).join(f"{json.dumps(name)}:{gap}{json.dumps(value)}" for name, value in fields.items())
    body = "{" + gap + written + gap + "}"
    return key_of(LLMRequest.parse(Operation.CHAT, body.encode()), tenant=tenant)


QUESTION = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@given(EXTRAS, st.randoms(use_true_random=False), st.sampled_from(["", " ", "\n\t "]))
def test_neither_order_nor_space_between_fields_matters(extras: dict[str, Any], chance: Any, gap: str) -> None:
    fields = list((QUESTION | extras).items())
    chance.shuffle(fields)

    assert key(dict(fields), gap=gap) == key(QUESTION | extras)


@given(EXTRAS, EXTRAS)
def test_different_fields_are_different_questions(one: dict[str, Any], other: dict[str, Any]) -> None:
    assume(one.keys() != other.keys() or any(json.dumps(one[name]) != json.dumps(other[name]) for name in one))

    assert key(QUESTION | one) != key(QUESTION | other)


@given(st.text(max_size=20), st.text(max_size=20), EXTRAS)
def test_tenants_share_nothing(one: str, other: str, extras: dict[str, Any]) -> None:
    assume(one != other)

    assert key(QUESTION | extras, one) != key(QUESTION | extras, other)


@given(st.sampled_from(sorted(NOT_PART_OF_THE_QUESTION - {"stream_options", "cache"})), JSON_VALUES)
def test_who_asks_is_not_part_of_the_question(name: str, value: Any) -> None:
    assert key(QUESTION | {name: value}) == key(QUESTION)


def test_a_boundary_between_values_cannot_be_moved() -> None:
    assert key(QUESTION | {"a": "x", "b": "yz"}) != key(QUESTION | {"a": "xy", "b": "z"})


def test_a_stream_is_another_question_and_so_is_another_operation() -> None:
    body = b'{"model":"m","messages":[],"prompt":"p"}'
    chat = key_of(LLMRequest.parse(Operation.CHAT, body), tenant="a")
    completion = key_of(LLMRequest.parse(Operation.COMPLETION, body), tenant="a")

    assert key(QUESTION | {"stream": True}) != key(QUESTION)
    assert chat != completion
