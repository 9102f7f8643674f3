"""How a misbehaviour is written: `fault:name?key=value&other=value`, as a model's name or a part of a path."""

from typing import NamedTuple
from urllib.parse import unquote

PREFIX = "fault:"


class Spec(NamedTuple):
    """A behaviour and its parameters; what a number was meant for stands in its name (`ms`, `mb`, `events`)."""

    name: str
    parameters: dict[str, str]

    def number(self, name: str, default: float) -> float:
        return float(self.parameters.get(name, default))

    def count(self, name: str, default: int) -> int:
        return int(self.parameters.get(name, default))

    def text(self, name: str, default: str) -> str:
        return self.parameters.get(name, default)

    def seconds(self, name: str, default_ms: float) -> float:
        """A parameter that counts milliseconds."""
        return self.number(name, default_ms) / 1000


def parse(written: str) -> Spec | None:
    """None where `written` is no misbehaviour. In a path `;` stands for `?`, and `,` may part the parameters."""
    if not written.startswith(PREFIX):
        return None
    name, _, rest = unquote(written).removeprefix(PREFIX).replace(";", "?", 1).partition("?")
    pairs = [each.partition("=") for each in rest.replace("&", ",").split(",") if each]
    return Spec(name, {key: value for key, _, value in pairs})
