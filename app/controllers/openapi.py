"""GET /openapi.json: Litestar describes its handlers, this adds the hot routes, whose bodies it cannot see, the
statuses and headers of every answer, and the keys that are asked for here.
"""

from typing import Any

from litestar import Request, Router
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from app.controllers.answered import Json, answers_of
from app.controllers.door import Door
from app.controllers.policies import Listener, Policy, paths_of
from app.domain.llm import MODEL_LENGTH, Operation

_QUESTIONS: dict[Operation, tuple[str, Json, str]] = {
    Operation.CHAT: ("messages", {"type": "array"}, "createChatCompletion"),
    Operation.COMPLETION: ("prompt", {"type": ["string", "array"]}, "createCompletion"),
    Operation.EMBEDDING: ("input", {"type": ["string", "array"]}, "createEmbedding"),
}
_MODEL: Json = {
    "type": "string",
    "minLength": 1,
    "maxLength": MODEL_LENGTH,
    "pattern": r"^\S(.*\S)?$",
    "description": "Visible characters, and blanks between them",
}
_FIELDS: Json = {
    "stream": {"type": ["boolean", "null"]},
    "stream_options": {"type": ["object", "null"], "properties": {"include_usage": {"type": ["boolean", "null"]}}},
    "cache": {
        "type": ["object", "null"],
        "description": "What is wished of the cache; ages are seconds",
        "properties": {
            **{name: {"type": ["boolean", "null"]} for name in ("no-cache", "no-store")},
            **{name: {"type": ["number", "null"]} for name in ("ttl", "s-maxage")},
        },
    },
}
_SCHEMES: Json = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_KEYS: list[Json] = [{"bearer": []}, {"header": []}]
_DETAILS: Json = {"name": "details", "in": "query", "schema": {}, "description": "Whether to add what turned lately"}


class Description(JsonRenderPlugin):
    """Litestar wants the file's own name among a plugin's paths, or it adds another."""

    def __init__(self) -> None:
        super().__init__(path=["/", "/openapi.json"])

    def render(self, request: Request, openapi_schema: dict[str, Any]) -> bytes:
        hot = {f"/v1/{operation}": {"post": _hot(operation)} for operation in Operation}
        paths = {
            path: {
                method: operation
                | _asked(path, operation)
                | {"responses": answers_of(path, method, operation), "security": _security(request, path)}
                for method, operation in methods.items()
            }
            for path, methods in (hot | openapi_schema["paths"]).items()
        }
        components = openapi_schema["components"] | {"securitySchemes": _SCHEMES}
        return self.render_json(request, openapi_schema | {"paths": paths, "components": components})


def openapi_config(version: str) -> OpenAPIConfig:
    router = Router("/openapi.json", route_handlers=[], include_in_schema=False, opt={"policy": Policy.OPEN})
    return OpenAPIConfig(
        title="Signalbox",
        version=version,
        use_handler_docstrings=True,
        openapi_router=router,
        render_plugins=[Description()],
    )


def _hot(operation: Operation) -> Json:
    name, shape, operation_id = _QUESTIONS[operation]
    answers: Json = {"application/json": {"schema": {"type": "object"}}}
    if operation is not Operation.EMBEDDING:
        answers["text/event-stream"] = {}
    body = {
        "type": "object",
        "required": ["model", name],
        "properties": {"model": _MODEL, name: shape, **_FIELDS},
        "additionalProperties": True,
    }
    return {
        "tags": ["OpenAI"],
        "operationId": operation_id,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {"200": {"description": "What the provider answered, untouched", "content": answers}},
    }


def _asked(path: str, operation: Json) -> Json:
    """What is asked beside a body, where Litestar does not know it all."""
    if path == "/health":
        return {"parameters": [_DETAILS]}
    asked = operation.get("parameters", ())
    words = {"enum": ["prometheus", "json"]}
    formats = [each | {"schema": each["schema"] | words} for each in asked if each["name"] == "format"]
    return {"parameters": formats} if formats else {}


def _security(request: Request, path: str) -> list[Json]:
    """Nothing where nobody is asked for a key; one that only opens more stands beside an empty one."""
    state = request.app.state
    door: Door = state.door
    listener: Listener = state.listener
    if path in paths_of(request.app, Policy.METRICS):
        # where only this machine is listened to they are open to it, and only to it
        is_open, knows_keys = state.metrics_public or listener.local, True
    else:
        is_open, knows_keys = not path.startswith("/v1/"), door.keys.needed
    if not knows_keys:
        return []
    return [{}, *_KEYS] if is_open else _KEYS
