from tests.e2e.conftest import directory, model, provider

__all__ = ["directory", "model", "provider"]
