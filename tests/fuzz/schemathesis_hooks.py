"""What schemathesis loads beside `/openapi.json`: half of the questions reach the provider, the others nobody."""

from typing import Any

import schemathesis

LONGEST = 200


@schemathesis.hook
def filter_body(context: Any, body: Any) -> bool:
    """A model's name must be printable: the description says so in words, no pattern could."""
    model = body.get("model") if isinstance(body, dict) else None
    return not isinstance(model, str) or model.isprintable()


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    model = body.get("model") if isinstance(body, dict) else None
    if isinstance(model, str) and model and model == model.strip() and len(model) <= LONGEST and len(model) % 4:
        return body | {"model": f"primary/{model}"}
    return body


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: Any) -> Any:
    """Most names nobody has; one the provider lists is asked for too."""
    model = path_parameters.get("model") if isinstance(path_parameters, dict) else None
    if isinstance(model, str) and len(model) % 2:
        return path_parameters | {"model": "primary/primary-model"}
    return path_parameters
