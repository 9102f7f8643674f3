"""POST /v1/completions."""

from functools import partial

from litestar import Controller, asgi
from litestar.types import HTTPScope, Receive, Send

from app.controllers.openai.exchange import exchange
from app.controllers.policies import Policy
from app.domain.llm import Operation

answer = partial(exchange, Operation.COMPLETION)


class CompletionsController(Controller):
    path = "/completions"

    @asgi("/", copy_scope=False, opt={"policy": Policy.INFERENCE, "hot": answer})
    async def create(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        await answer(scope, receive, send)
