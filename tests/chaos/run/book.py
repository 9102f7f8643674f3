"""What the callers of a run sent and what they were told: their side of the audit."""

from collections import Counter
from dataclasses import dataclass, field

from benchmarks.soak.questions import tokens_of

KEYS = {"web": "k-web-0123456789", "batch": "k-batch-0123456789"}


@dataclass
class Told:
    """One request. `question` is what the provider's journal calls it; identical questions share one."""

    id: str
    question: str
    route: str = "/v1/chat/completions"
    status: int = 0
    """0: nobody was told one."""
    word: str = "ok"
    """What went wrong, as the answer had it; in a stream's last event `broken` stands for it."""
    whole: bool = False
    left: bool = False
    """The caller hung up before the end."""
    sure: bool = True
    """Whether the gateway must have heard of it."""
    number: int = 0
    plain: bool = True
    """An answer to it uses as many tokens as its number says."""

    @property
    def tokens(self) -> tuple[int, int]:
        prompt, completion = tokens_of(self.number)
        return prompt, 0 if self.route.endswith("embeddings") else completion


@dataclass
class Book:
    requests: dict[str, Told] = field(default_factory=dict)
    looked: Counter[tuple[str, int]] = field(default_factory=Counter)
    """GETs, by route and status."""
    unread: Counter[int] = field(default_factory=Counter)
    """Heads that did not come to their end, by the status they were answered with."""
    complaints: list[str] = field(default_factory=list)

    def add(self, told: Told) -> Told:
        self.requests[told.id] = told
        return told

    def complain(self, what: str) -> None:
        if len(self.complaints) < 50:
            self.complaints.append(what)
