"""GET /openapi.json: Litestar describes its handlers, this adds the hot routes, whose bodies it cannot see."""

from typing import Any

from litestar import Request, Router
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from app.controllers.policies import Policy
from app.domain.llm import Operation

_QUESTIONS = {
    Operation.CHAT: ("messages", {"type": "array", "items": {"type": "object"}}, "createChatCompletion"),
    Operation.COMPLETION: ("prompt", {"anyOf": [{"type": "string"}, {"type": "array"}]}, "createCompletion"),
    Operation.EMBEDDING: ("input", {"anyOf": [{"type": "string"}, {"type": "array"}]}, "createEmbedding"),
}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


class Description(JsonRenderPlugin):
    """Litestar wants the file's own name among a plugin's paths, or it adds another."""

    def __init__(self) -> None:
        super().__init__(path=["/", "/openapi.json"])

    def render(self, request: Request, openapi_schema: dict[str, Any]) -> bytes:
        hot = {f"/v1/{operation}": _hot_path(operation) for operation in Operation}
        return self.render_json(request, openapi_schema | {"paths": hot | openapi_schema["paths"]})


def openapi_config(version: str) -> OpenAPIConfig:
    router = Router("/openapi.json", route_handlers=[], include_in_schema=False, opt={"policy": Policy.OPEN})
    return OpenAPIConfig(
        title="Signalbox",
        version=version,
        use_handler_docstrings=True,
        openapi_router=router,
        render_plugins=[Description()],
    )


def _hot_path(operation: Operation) -> dict[str, Any]:
    name, shape, operation_id = _QUESTIONS[operation]
    properties = {"model": {"type": "string", "minLength": 1, "maxLength": 256}, name: shape}
    answers: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
    if operation is not Operation.EMBEDDING:
        properties["stream"] = {"type": ["boolean", "null"]}
        properties["stream_options"] = {"type": ["object", "null"]}
        answers["text/event-stream"] = {"schema": {"type": "string"}}
    properties["cache"] = {"type": ["object", "null"], "description": "no-cache, no-store, ttl, s-maxage"}
    body = {"type": "object", "required": ["model", name], "properties": properties, "additionalProperties": True}
    return {
        "post": {
            "tags": ["OpenAI"],
            "operationId": operation_id,
            "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
            "responses": {
                "200": {"description": "What the provider answered, untouched", "content": answers},
                "default": {"description": "An error", "content": {"application/json": {"schema": _ERROR}}},
            },
        }
    }
