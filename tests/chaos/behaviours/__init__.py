"""Every misbehaviour there is, by name. Each says whether its connection is kept."""

from tests.chaos.behaviours import bodies, framing, heads, streams, well
from tests.chaos.behaviours.registry import BEHAVIOURS, Behaviour

__all__ = ["BEHAVIOURS", "Behaviour", "bodies", "framing", "heads", "streams", "well"]
