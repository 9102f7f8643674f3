"""Cache keys: the same question has the same key, whatever order its fields came in."""

from hashlib import sha256

import msgspec

from app.domain.llm import LLMRequest

SCHEMA = 1
NOT_PART_OF_THE_QUESTION = frozenset({"user", "metadata", "stream_options", "cache"})

_encode = msgspec.json.Encoder().encode


def key_of(request: LLMRequest, *, tenant: str) -> bytes:
    """32 bytes that stand for the question, each value counted byte for byte as it was sent.

    `tenant` keeps callers apart who must not see each other's answers. Everything unknown counts.
    """
    question = sorted(request.fields.items())
    if not NOT_PART_OF_THE_QUESTION.isdisjoint(request.fields):
        question = [each for each in question if each[0] not in NOT_PART_OF_THE_QUESTION]
    return sha256(_encode((SCHEMA, request.operation, tenant, question))).digest()
