"""POST /v1/completions."""

from litestar import Controller, asgi
from litestar.types import HTTPScope, Receive, Send

from app.controllers.openai.exchange import exchange
from app.controllers.policies import Policy
from app.domain.llm import Operation


class CompletionsController(Controller):
    path = "/completions"

    @asgi("/", copy_scope=False, opt={"policy": Policy.INFERENCE, "hot": True})
    async def create(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        await exchange(Operation.COMPLETION, scope, receive, send)
