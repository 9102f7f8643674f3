"""Text of somebody else's as one line of what can be seen: no terminal obeys it, and no second line hides in it."""


def visible(text: str) -> str:
    r"""`text` with all that is not printable written as Python would: `\n`, `\x1b`, `\u2028`."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def shortened(text: str, longest: int) -> str:
    """At most about `longest` characters, what is left out being in the middle and counted."""
    left_out = len(text) - longest
    if left_out <= 0:
        return text
    half = longest // 2
    return f"{text[:half]} [{left_out} characters left out] {text[len(text) - half :]}"
