"""A gateway that runs: where it is, what it wants to hear, and whether it answers rightly."""

import http.client
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import msgspec

from benchmarks.loads import COUNTER, Load
from benchmarks.measure import cpu_seconds

ANSWER_SECONDS = 10.0
START_SECONDS = 60.0
PRIMING_SECONDS = 3.0


class Plan(msgspec.Struct, frozen=True):
    """How to start a gateway and how to ask it."""

    command: list[str]
    port: int = 0
    """0: it takes one of its own choice, and says so in its output."""
    path: str = "/v1/chat/completions"
    headers: Mapping[str, str] = {}
    environ: Mapping[str, str] = {}
    model: str = "{}"
    """What it wants to be called for, with the mock's model in the braces."""
    hit_header: str = ""
    """The answer's header that tells hits from misses; empty: it has none."""
    hit_word: str = ""
    """What that header says of a hit; empty: anything."""


class WrongAnswerError(Exception):
    """The gateway does not answer as it must for a load to mean anything."""


class Reply(msgspec.Struct, frozen=True):
    """What one question brought."""

    status: int
    body: bytes
    hit: bool

    @property
    def events(self) -> int:
        return self.body.count(b"data:")


class Endpoint:
    """A started gateway. `fresh` numbers its questions, so that none but the intended ones come twice."""

    def __init__(self, name: str, plan: Plan, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.plan = plan
        self.process = process
        self.log = log
        self.port = plan.port
        self._asked = 0

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.process.pid)

    def fresh(self, count: int) -> int:
        """The first of `count` numbers that were never used here."""
        first = self._asked + 1
        self._asked += count
        return first

    def body(self, load: Load) -> bytes:
        return load.body(self.plan.model.format(load.model))

    def ask(self, load: Load) -> Reply:
        """One question of this load, never asked before unless the load wants hits."""
        number = 0 if load.hits else self.fresh(1)
        body = self.body(load).replace(COUNTER, b"%08d" % number, 1)
        headers = {"content-type": "application/json"} | dict(self.plan.headers)
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)) as connection:
            connection.request("POST", self.plan.path, body, headers)
            answer = connection.getresponse()
            said = answer.getheader(self.plan.hit_header) if self.plan.hit_header else None
            hit = said is not None and self.plan.hit_word in {"", said}
            return Reply(answer.status, answer.read(), hit)

    def metric(self, name: str) -> float:
        """The sum of a metric's samples at `/metrics`."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)) as connection:
            connection.request("GET", "/metrics", headers=dict(self.plan.headers))
            lines = connection.getresponse().read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if re.match(rf"{name}[{{ ]", line))

    def wait(self) -> float:
        """Seconds until it answered its first question rightly."""
        began = time.monotonic()
        question = Load("first", "")
        while (waited := time.monotonic() - began) < START_SECONDS:
            if self.process.poll() is not None:
                raise WrongAnswerError(f"ended with {self.process.returncode}: {self.last_words()}")
            try:
                self.port = self.port or self._own_port()
                if self.port and self.ask(question).status == 200:
                    return time.monotonic() - began
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.001 if waited < 1 else 0.01)
        raise WrongAnswerError(f"did not answer within {START_SECONDS:.0f} s: {self.last_words()}")

    def check(self, load: Load) -> int:
        """How many events an answer has; raises where an answer is not what the load is about."""
        try:
            reply = self._primed(load) if load.hits else self.ask(load.at_once())
        except (OSError, http.client.HTTPException) as error:
            raise WrongAnswerError(f"no answer ({type(error).__name__})") from error
        if reply.status != 200:
            raise WrongAnswerError(f"answered {reply.status}: {reply.body[:200].decode(errors='replace')}")
        if b"token" not in reply.body:
            raise WrongAnswerError("the answer is not the mock's")
        if load.stream and b"[DONE]" not in reply.body:
            raise WrongAnswerError("the stream has no [DONE]")
        if reply.hit != load.hits:
            raise WrongAnswerError("the answer comes from a cache" if reply.hit else "the answer is in no cache")
        return reply.events

    def _primed(self, load: Load) -> Reply:
        """The answer once it comes from the cache; caches are written to behind an answer's back."""
        self.ask(load)
        return until(lambda: self.ask(load), lambda reply: reply.hit, PRIMING_SECONDS)

    def last_words(self) -> str:
        return self.log.read_bytes()[-300:].decode(errors="replace").strip()

    def _own_port(self) -> int:
        found = re.search(rb"http://127\.0\.0\.1:(\d+)", self.log.read_bytes())
        return int(found[1]) if found else 0


def until(ask: Callable[[], Reply], right: Callable[[Reply], bool], patience: float) -> Reply:
    """The first right reply, or the last one before patience ended."""
    deadline = time.monotonic() + patience
    while not right(reply := ask()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return reply
