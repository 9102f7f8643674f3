"""The gateways of the end-to-end tests, with each upstream client."""

from tests.e2e.conftest import directory, exposed, gateway, model, provider

__all__ = ["directory", "exposed", "gateway", "model", "provider"]
