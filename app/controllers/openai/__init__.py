"""The OpenAI dialect."""

from litestar import Router
from litestar.exceptions import HTTPException

from app.controllers.openai.chat import ChatController
from app.controllers.openai.completions import CompletionsController
from app.controllers.openai.embeddings import EmbeddingsController
from app.controllers.openai.errors import render_openai_error
from app.controllers.openai.models import ModelsController
from app.domain.errors import GatewayError

openai_router = Router(
    path="/v1",
    route_handlers=[ChatController, CompletionsController, EmbeddingsController, ModelsController],
    exception_handlers={
        GatewayError: render_openai_error,
        HTTPException: render_openai_error,
        Exception: render_openai_error,
    },
    tags=["OpenAI"],
)
