"""A provider's address, as people name it."""

import pytest

from app.providers.endpoints import endpoint_of, root_of


@pytest.mark.parametrize(
    ("base_url", "endpoint"),
    [
        ("http://host:11434/v1", "http://host:11434"),
        ("http://host:11434/v1/", "http://host:11434"),
        ("http://host:11434", "http://host:11434"),
        ("http://host:11434/", "http://host:11434"),
        ("https://user:word@host/api/v1", "https://host/api"),
        ("http://[::1]:11434/v1", "http://[::1]:11434"),
        ("https://host/v1/models", "https://host/v1/models"),
        ("https://host/v10", "https://host/v10"),
        ("", ""),
    ],
)
def test_an_endpoint_has_neither_version_nor_credentials(base_url: str, endpoint: str) -> None:
    assert endpoint_of(base_url) == endpoint


def test_a_root_keeps_the_credentials() -> None:
    assert root_of("http://user:word@host/v1/") == "http://user:word@host"
