"""Inputs near those that are kept: a target has a file of seeds in `corpus/`, which are tried as they are, then bent.

A line of such a file is a Python bytes literal; one behind a `+` is a token, which is put into seeds but is none.
Whatever once failed is added there as one more line.
"""

import ast
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

CORPUS = Path(__file__).parent / "corpus"
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "150"))
"""For each target in one round; `make fuzz` has rounds of more, and many."""
LONGEST = 4096
PLACES = st.lists(st.integers(0, LONGEST), max_size=8)

Edit = tuple[str, int, int, bytes]
Check = Callable[..., None]


def read(name: str) -> tuple[list[bytes], list[bytes]]:
    """Seeds and tokens of a target."""
    seeds, tokens = [], []
    for line in (CORPUS / f"{name}.txt").read_text().splitlines():
        if line.startswith("+"):
            tokens.append(ast.literal_eval(line[1:].strip()))
        elif line and not line.startswith("#"):
            seeds.append(ast.literal_eval(line))
    return seeds, tokens


def mutated(name: str) -> st.SearchStrategy[bytes]:
    seeds, tokens = read(name)
    edit = st.tuples(
        st.sampled_from(["insert", "replace", "cut", "twice", "flip", "splice", "stop"]),
        st.integers(0, LONGEST),
        st.integers(0, 64),
        st.sampled_from(tokens) | st.binary(max_size=6) if tokens else st.binary(max_size=6),
    )
    near = st.builds(bent, st.sampled_from(seeds), st.lists(edit, max_size=6), st.sampled_from(seeds))
    return near | near | near | st.binary(max_size=200)


def bent(seed: bytes, edits: list[Edit], other: bytes) -> bytes:
    """`seed` after all edits; places beyond its end are counted from its beginning again."""
    data = seed
    for kind, place, length, token in edits:
        at = place % (len(data) + 1)
        end = at + length
        match kind:
            case "insert":
                data = data[:at] + token + data[at:]
            case "replace":
                data = data[:at] + token + data[at + len(token) :]
            case "cut":
                data = data[:at] + data[end:]
            case "twice":
                data = data[:end] + data[at:]
            case "flip" if at < len(data):
                data = data[:at] + bytes([data[at] ^ (1 << length % 8)]) + data[at + 1 :]
            case "splice":
                data = data[:at] + other[length % (len(other) + 1) :]
            case "stop":
                data = data[:at]
    return data[:LONGEST]


def pieces(data: bytes, places: list[int]) -> list[bytes]:
    """The same bytes as they might arrive; none of them is empty."""
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def fuzzed(name: str, *, split: bool = False) -> Callable[[Check], Check]:
    """Make a test of a check that takes `data`, and with `split` the `places` where it is cut: a fuzz target."""

    def make(check: Check) -> Check:
        arguments: dict[str, Any] = {"data": mutated(name)} | ({"places": PLACES} if split else {})
        test: Any = given(**arguments)(check)
        for seed in read(name)[0]:
            test = example(data=seed, **({"places": []} if split else {}))(test)
            if split:
                test = example(data=seed, places=list(range(min(len(seed), 512))))(test)
        test = settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=False,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )(test)
        test.fuzz_target = name
        return test

    return make
