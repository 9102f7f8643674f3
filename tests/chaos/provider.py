"""A provider that misbehaves by name; `python -m tests.chaos provider` serves it.

Which behaviour a question gets, the first that there is: its model, if that is `fault:…`; the first part of its path,
if that is; what was set for its row (the first part of its path) and is due by its share; else `well`.

Beside OpenAI's API: `GET /_journal?since=N`; `POST /_fault/<row>` with `{"fault": "fault:…", "share": 1}`, and
`{}` to end it; `GET /_list`.
"""

import asyncio
import json
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.chaos.behaviours import BEHAVIOURS
from tests.chaos.journal import Journal
from tests.chaos.line import Asked, Line
from tests.chaos.spec import Spec, parse

MOST_TRIED = 10_000


class Provider:
    """Serves connections; `seed` decides whom a fault with a share hits."""

    def __init__(self, journal: Journal | None = None, seed: int = 1) -> None:
        self.journal = journal or Journal()
        self._dice = random.Random(seed)  # noqa: S311 - a choice, not a secret
        self._faults: dict[str, tuple[Spec, float]] = {}
        self._tried: Counter[tuple[str, str]] = Counter()
        self._lines = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._lines += 1
        line = Line(reader, writer, self._lines)
        try:
            while (asked := await line.request()) is not None:
                line.begin()
                if asked.path.startswith("/_"):
                    await line.answer(self._told(asked))
                elif not await self._answered(asked, line):
                    break
        except ConnectionError:
            pass
        finally:
            line.close()

    async def _answered(self, asked: Asked, line: Line) -> bool:
        asked.spec = self._chosen(asked)
        if asked.method == "GET":
            return await self._asked_about(asked, line)
        asked.times = self._times(asked)
        number = self.journal.received(asked, line)
        kept, ending = False, "failed"
        try:
            kept = await BEHAVIOURS[asked.spec.name](asked, line)
            ending = line.ending or ("complete" if kept else "closed")
        except (ConnectionError, asyncio.IncompleteReadError):
            ending = "deserted"
        finally:
            self.journal.sent(number, asked, line, ending)
        return kept

    async def _asked_about(self, asked: Asked, line: Line) -> bool:
        """A probe: the list of models, or Ollama's version. It meets what was set for the row, too."""
        if asked.spec.name != "well":
            return await BEHAVIOURS[asked.spec.name](asked, line)
        version = asked.path.endswith("/api/version")
        listed = [{"id": name, "object": "model"} for name in ("well", *(f"fault:{each}" for each in BEHAVIOURS))]
        await line.answer({"version": "0.5.1"} if version else {"object": "list", "data": listed})
        return True

    def _chosen(self, asked: Asked) -> Spec:
        written = parse(asked.model) or parse(asked.row)
        if written is None:
            spec, share = self._faults.get(asked.row, (None, 0.0))
            written = spec if spec is not None and self._dice.random() < share else Spec("well", {})
        spec = written if written.name in BEHAVIOURS else Spec("http", {"status": "501"})
        return Spec(spec.name, dict(spec.parameters))

    def _times(self, asked: Asked) -> int:
        key = (asked.call, f"{asked.row}/{asked.model}")
        self._tried[key] += 1
        if len(self._tried) > MOST_TRIED:
            for old in list(self._tried)[: MOST_TRIED // 2]:
                del self._tried[old]
        return self._tried[key]

    def _told(self, asked: Asked) -> Any:
        url = urlsplit(asked.path)
        _, word, *rest = url.path.split("/")
        if word == "_journal":
            return self.journal.since(int(parse_qs(url.query).get("since", ["0"])[0]))
        if word == "_fault":
            self.set_fault(rest[0], asked.fields.get("fault", ""), asked.fields.get("share", 1.0))
        return {name: (each.__doc__ or "").strip() for name, each in BEHAVIOURS.items()}

    def set_fault(self, row: str, written: str, share: float = 1.0) -> None:
        """What a row's questions meet from now on, that share of them; nothing: all is well again."""
        self._faults.pop(row, None)
        if (spec := parse(written)) is not None:
            self._faults[row] = (spec, share)


async def serve(port: int, journal: Path | None, seed: int) -> None:
    """Until standard input ends, where that is a pipe; else for ever. Prints the port."""
    provider = Provider(Journal(journal), seed)
    server = await asyncio.start_server(provider.serve, "127.0.0.1", port, backlog=1024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    if sys.stdin.isatty():
        await server.serve_forever()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def listing() -> str:
    """Every behaviour with its description, a line each."""
    return "\n".join(f"{name:<18} {(each.__doc__ or '').strip()}" for name, each in sorted(BEHAVIOURS.items()))


def encoded(fault: str, share: float) -> bytes:
    """The body of a POST to `/_fault/<row>`."""
    return json.dumps({"fault": fault, "share": share}).encode()
