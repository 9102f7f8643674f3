"""HTTP in, HTTP out. One package per API dialect; nothing here decides anything."""

from app.controllers.dialects import render_error, spelled
from app.controllers.health import HealthController
from app.controllers.metrics import MetricsController
from app.controllers.openai import openai_router
from app.controllers.openapi import openapi_config
from app.controllers.policies import ASIDE, Listener, Policy, check_declared, enforce, paths_of

ROUTE_HANDLERS = (openai_router, HealthController, MetricsController)

__all__ = [
    "ASIDE",
    "ROUTE_HANDLERS",
    "Listener",
    "Policy",
    "check_declared",
    "enforce",
    "openapi_config",
    "paths_of",
    "render_error",
    "spelled",
]
