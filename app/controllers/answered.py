"""What answers have in their heads, and what refusals look like, for `/openapi.json`."""

from typing import Any

from app.controllers.dialects import Spelling, llm_service, nomyo, spelling_of
from app.domain.errors import Failure
from app.domain.llm import CacheStatus
from app.monitoring.metrics import CLASSIC, OPEN_METRICS

Json = dict[str, Any]

_TEXT: Json = {"type": "string"}
_OR_NULL: Json = {"type": ["string", "null"]}


def _object(**properties: Json) -> Json:
    return {"type": "object", "required": list(properties), "properties": properties}


_OPENAI = _object(error=_object(message=_TEXT, type=_TEXT, param=_OR_NULL, code=_OR_NULL))
_SHAPES: dict[Spelling, Json] = {
    llm_service: _object(statusCode={"type": "integer"}, message=_TEXT, error=_TEXT),
    nomyo: _object(detail=_TEXT, error=_TEXT),
}

_ID: Json = {"x-request-id": {"required": True, "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"}}}
_TRACE: Json = {"x-trace-id": {"schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"}}}
_TIMING: Json = {"server-timing": {"required": True, "schema": {"type": "string", "pattern": r"total;dur=[0-9.]+$"}}}
_WORD: Json = {"x-signalbox-error": {"required": True, "schema": {"type": "string", "enum": [*map(str, Failure)]}}}
_ATTEMPTS: Json = {
    "x-signalbox-attempts": {"schema": {"type": "string", "pattern": "^[^:,]+:[a-z_]+(,[^:,]+:[a-z_]+)*$"}}
}
_LATER: Json = {"retry-after": {"schema": {"type": "integer", "minimum": 0}}}
_OF_CALLS: Json = {
    "x-signalbox-provider": {"required": True, "schema": _TEXT},
    "x-signalbox-model": {"required": True, "schema": _TEXT},
    "x-signalbox-cache": {"required": True, "schema": {"type": "string", "enum": [*map(str, CacheStatus)]}},
    "x-signalbox-cost": {"schema": {"type": "number", "minimum": 0}},
    "cache-status": {"required": True, "schema": {"type": "string", "pattern": "^signalbox; (hit|fwd=)"}},
    "age": {"schema": {"type": "integer", "minimum": 0}},
}
_NOT_KEPT: Json = {"cache-control": {"required": True, "schema": {"const": "no-store"}}}
_MORE: dict[Any, Json] = {
    401: {"www-authenticate": {"required": True, "schema": {"const": "Bearer"}}},
    429: _LATER,
    503: _LATER,
}

_EVERYWHERE = {
    400: "The request cannot be used",
    401: "No key, or one nobody holds, where one is needed",
    403: "From a web page that is not served",
    408: "It did not arrive in time",
    413: "Its body is too large",
    414: "Its address is too long",
    429: "Too many wrong keys came from its address; or the provider wants less",
    431: "Its head is too large",
    500: "Our fault",
    503: "Too much at once, or nobody to ask now",
}
_ASKING_PROVIDERS = {
    404: "Nobody has the model",
    502: "The provider failed",
    504: "The provider is late; or only-if-cached, and nothing is stored",
}
_CALLING = {415: "A compressed body", "4XX": "What the provider refused, in its words"}
_READY = frozenset({"/health", "/health/ready", "/health/readiness", "/readyz", "/monitoring/health"})


def answers_of(path: str, method: str, operation: Json) -> Json:
    """The responses of an operation; Litestar knows the good one."""
    headers = _ID | _TIMING
    refusals: dict[Any, str] = dict(_EVERYWHERE)
    good: Json = operation["responses"]["200"]
    if method == "post":
        headers |= _TRACE | _ATTEMPTS | _OF_CALLS
        refusals |= _ASKING_PROVIDERS | _CALLING
    elif path.startswith("/v1/models/"):
        refusals |= _ASKING_PROVIDERS
    elif not path.startswith("/v1/"):
        headers |= _NOT_KEPT
        if "metrics" in path or path == "/api/usage":
            refusals[404] = "Metrics are off here"
    good = good | {"headers": headers}
    if _is_exposition(operation):
        good |= {"content": _exposition(good["content"])}
    if method == "head":
        del good["content"]
    answers = {str(status): _refusal(path, method, status, said) for status, said in refusals.items()}
    if path in _READY:
        answers["503"] = _unready(good, answers["503"])
    return {"200": good} | answers


def _unready(good: Json, refusal: Json) -> Json:
    """The report of what cannot serve, or that there is too much at once."""
    answer = {"description": "The same, where nothing can be served; or too much at once", "headers": _ID | _LATER}
    if "content" not in good:
        return answer
    either = [each["content"]["application/json"]["schema"] for each in (good, refusal)]
    return answer | {"content": {"application/json": {"schema": {"anyOf": either}}}}


def _refusal(path: str, method: str, status: int | str, said: str) -> Json:
    headers = _ID | _WORD | _ATTEMPTS | (_TRACE if method == "post" else {}) | _MORE.get(status, {})
    answer: Json = {"description": said, "headers": headers}
    if method != "head":
        schema = _SHAPES.get(spelling_of(path), _OPENAI)
        answer["content"] = {"application/json": {"schema": schema}}
    return answer


def _is_exposition(operation: Json) -> bool:
    return any(each["name"] == "format" for each in operation.get("parameters", ()))


def _exposition(content: Json) -> Json:
    """Text or JSON, by `format`; Litestar takes both for one."""
    (said,) = content.values()
    _, as_json = said["schema"]["oneOf"]
    texts = {each.partition(";")[0]: {"schema": _TEXT} for each in (CLASSIC, OPEN_METRICS)}
    return texts | {"application/json": {"schema": as_json}}
