"""Tokens and money."""

from msgspec import Struct


class TokenUsage(Struct, frozen=True, gc=False):
    """Tokens as the provider counted them; `cost_nano_usd` where it priced the call itself, else None."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_nano_usd: int | None = None

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


NO_USAGE = TokenUsage()
