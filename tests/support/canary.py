"""Secrets that are nowhere else, and how to find one again whatever was done to it."""

import base64
from hashlib import sha256
from urllib.parse import quote

PREFIX = 8
OUTSIDE = 4
"""Characters of a base64 text that what stands around a secret may have a part in."""


def secret(name: str) -> str:
    """Always the same for one name; letters and digits no other text has eight of in a row."""
    return base64.b32encode(sha256(f"canary {name}".encode()).digest()).decode().lower()[:32]


def leaks(secrets: dict[str, str], text: str) -> list[str]:
    """The names of those `text` has a part in: the first characters, in any case, or any of it as base64 or hex."""
    plain = text.lower()
    return [
        name
        for name, value in secrets.items()
        if value[:PREFIX] in plain or quote(value[:PREFIX]) in plain or any(form in text for form in _encoded(value))
    ]


def _encoded(value: str) -> list[str]:
    data = value.encode()
    shifted = [base64.b64encode(b"." * each + data).decode()[OUTSIDE : OUTSIDE + 2 * PREFIX] for each in range(3)]
    return [*shifted, data.hex()[: 2 * PREFIX]]
