"""HTTP in, HTTP out. One package per API dialect; nothing here decides anything."""

from app.controllers.dialects import render_error
from app.controllers.health import HealthController
from app.controllers.metrics import MetricsController
from app.controllers.openai import openai_router
from app.controllers.openapi import openapi_config
from app.controllers.policies import check_declared, enforce

ROUTE_HANDLERS = (openai_router, HealthController, MetricsController)

__all__ = ["ROUTE_HANDLERS", "check_declared", "enforce", "openapi_config", "render_error"]
