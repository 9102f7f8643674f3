"""The gateways of the end-to-end tests, with each upstream client."""

from tests.e2e.conftest import directory, gateway, model, provider

__all__ = ["directory", "gateway", "model", "provider"]
