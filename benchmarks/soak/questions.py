"""What both sides agree on: a question has a number, and the number says what its answer costs."""

import msgspec


def tokens_of(number: int) -> tuple[int, int]:
    """Prompt and completion tokens; the answer has as many words as completion tokens."""
    return 1 + number % 97, 1 + number * 7 % 61


def identity(number: int) -> bytes:
    """Stands in every answer and every event of it, so that nobody gets another one's unseen."""
    return b'"id":"answer-%d"' % number


def question(model: str, number: int, *, operation: str, stream: bool) -> bytes:
    text = f"question {number} of a long evening"
    asked: dict[str, object] = {"model": model, "number": number}
    match operation:
        case "embeddings":
            asked["input"] = text
        case "completions":
            asked["prompt"] = text
        case _:
            asked["messages"] = [{"role": "user", "content": text}]
    return msgspec.json.encode(asked | ({"stream": True} if stream else {}))
