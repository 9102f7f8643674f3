"""Where a provider is: its address as people, health and metrics name it."""

from urllib.parse import urlsplit, urlunsplit

VERSIONED = "/v1"


def root_of(base_url: str) -> str:
    """A base URL without its `/v1`: what a server's own paths begin with."""
    return base_url.rstrip("/").removesuffix(VERSIONED).rstrip("/")


def endpoint_of(base_url: str) -> str:
    """The same without credentials, or nothing for who has no address."""
    parts = urlsplit(root_of(base_url))
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
