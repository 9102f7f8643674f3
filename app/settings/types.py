"""What settings are made of."""

from typing import Annotated

from msgspec import Meta, Struct

Seconds = Annotated[float, Meta(gt=0, le=1e9)]
Port = Annotated[int, Meta(ge=0, le=65535)]
Size = Annotated[int, Meta(ge=1)]
Percent = Annotated[float, Meta(gt=0, le=100)]


class Secret(str):
    """A string that does not print itself."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret('***')"


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass
