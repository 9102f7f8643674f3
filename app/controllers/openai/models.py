"""GET /v1/models and /v1/models/{id}; ids may contain `/` and `:`."""

from typing import Any

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from app.controllers.policies import Policy
from app.providers.registry import ProviderRegistry


class ModelsController(Controller):
    path = "/models"
    opt = {"policy": Policy.INFERENCE}

    @get(operation_id="listModels")
    async def list_models(self, registry: NamedDependency[ProviderRegistry]) -> dict[str, Any]:
        return {"object": "list", "data": list((await registry.cards()).values())}

    @get("/{model:path}", operation_id="retrieveModel")
    async def retrieve(self, model: FromPath[str], registry: NamedDependency[ProviderRegistry]) -> dict[str, Any]:
        return await registry.card(model.removeprefix("/"))
