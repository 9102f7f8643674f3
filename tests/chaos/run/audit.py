"""Whether four accounts of one run agree: the callers', the gateway's log, its metrics, and the providers' journal."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from benchmarks.soak.ledger import Sample
from tests.chaos.run.book import Book, Told

UNREAD = "unread"
LONGEST_TOLD = 1500
"""The end of a line is told: there an exception says what it is."""
USUAL = {"debug", "info", "warning"}
PROVOKED = ("configuration not taken",)
"""How events of level error begin that the run itself asks for."""


class Line(msgspec.Struct):
    """A line of the gateway's log, in whole or in part."""

    event: str
    level: str = ""
    status: str = ""
    request_id: str = ""
    operation: str = ""
    route: str = ""
    code: int = 0
    stream: bool = False
    cache: str = ""
    attempts: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    first_ms: float | None = None

    @property
    def asked(self) -> list[tuple[str, str]]:
        """Provider and word of each attempt."""
        return [(name, word) for name, _, word in (each.partition(":") for each in self.attempts.split(",") if each)]

    @property
    def path(self) -> str:
        return self.route or f"/v1/{self.operation}"


class Accounts:
    def __init__(
        self, book: Book, log: Iterable[bytes], samples: Mapping[Sample, float], journal: list[dict[str, Any]]
    ) -> None:
        self.book = book
        self.samples = samples
        self.journal = journal
        self.others: list[bytes] = []
        self.lines: list[Line] = []
        self.unread = 0
        for raw in log:
            line = _decode(raw)
            if line.event not in {"call", "refused"}:
                if line.level not in USUAL and not line.event.startswith(PROVOKED):
                    self.others.append(raw)
            elif line.route == UNREAD:
                self.unread += 1
            else:
                self.lines.append(line)
        self.by_id = {line.request_id: line for line in self.lines}
        self.held = int(self._sum("llm_log_lines_held_total"))
        """Lines there are not, because there were a hundred of their kind in that second."""

    def differences(self) -> dict[str, list[str]]:
        """By what was compared; all of them empty where everything adds up."""
        return {
            "answers": self.book.complaints,
            "settled": list(self._settled()),
            "providers": list(self._providers()),
            "counters": [*self._calls(), *self._attempts(), *self._answers()],
            "log": [raw.decode().rstrip()[-LONGEST_TOLD:] for raw in self.others],
        }

    def _settled(self) -> Iterator[str]:
        """Each request has one line, and it says what its caller was told."""
        for name, count in Counter(line.request_id for line in self.lines).items():
            if count > 1:
                yield f"{name} was settled {count} times"
            if name not in self.book.requests:
                yield f"nobody sent {name}: {self.by_id[name]}"
        for told in self.book.requests.values():
            if wrong := self._differs(told, self.by_id.get(told.id)):
                yield f"{told.id} {wrong}"

    def _differs(self, told: Told, line: Line | None) -> str:
        if line is None:
            refused = self.held and (told.left or told.status >= 400)  # `_answers` counts them
            return f"was not settled: {told}" if not refused and (told.sure or not told.left) else ""
        if line.status == "internal":
            return "failed by the gateway's own fault"
        if told.whole and told.word == "broken":
            return "broke and was settled as ok" if line.status == "ok" else ""
        if told.whole and line.status != told.word:
            return f"was told {told.word} and settled as {line.status}"
        used = (line.prompt_tokens, line.completion_tokens)
        if line.status == "ok" and told.plain and line.event == "call" and used != told.tokens:
            return f"used {told.tokens} tokens; {used} were counted"
        return ""

    def _providers(self) -> Iterator[str]:
        """What was asked is in the journal; what is in the journal was asked, replays of a dead line apart."""
        asked: Counter[tuple[str, str]] = Counter()
        answered: Counter[tuple[str, str]] = Counter()
        known = defaultdict(list)
        for line in self.lines:
            told = self.book.requests.get(line.request_id)
            for name, word in line.asked:
                question = told.question if told else line.request_id
                asked[question, name] += 1
                answered[question, name] += word == "ok"
                known[question, name].append(line.request_id)
        received = Counter((each["call"], each["row"]) for each in self.journal if each["kind"] == "received")
        kept = Counter(
            (each["call"], each["row"]) for each in self.journal if each["kind"] == "received" and each["turn"] > 1
        )
        for key in received.keys() | asked.keys():
            if received[key] - kept[key] > asked[key]:
                yield f"{key} reached the provider {received[key]} times for {asked[key]} attempts: {known[key]}"
            if answered[key] > received[key]:
                yield f"{key} was answered {answered[key]} times, and asked {received[key]} times"

    def _calls(self) -> Iterator[str]:
        calls = [line for line in self.lines if line.event == "call"]
        yield from self._same(
            "llm_requests_total", "status", Counter("success" if each.status == "ok" else "error" for each in calls)
        )
        begun = [each for each in calls if each.stream and each.first_ms is not None]
        yield from self._same(
            "llm_streams_total", "ending", Counter("complete" if each.status == "ok" else each.status for each in begun)
        )
        shared = {"hit", "coalesced"}
        paid = [each for each in calls if each.cache not in shared]
        used = Counter(prompt=sum(each.prompt_tokens for each in paid))
        used["completion"] = sum(each.completion_tokens for each in paid)
        yield from self._same("llm_token_usage_total", "type", used)
        kinds = Counter("hits" if each.cache in shared else f"{each.cache}es" for each in calls)
        for kind in ("hits", "misses", "bypasses"):
            yield from self._same(f"llm_cache_{kind}_total", "", Counter({"": kinds[kind]}))

    def _attempts(self) -> Iterator[str]:
        made = [each for line in self.lines for each in line.asked]
        yield from self._same("llm_provider_requests_total", "provider", Counter(name for name, _ in made))
        failed = Counter(word for _, word in made if word != "ok")
        yield from self._same("llm_provider_errors_total", "error_type", failed)
        for name in ("llm_log_lines_dropped_total", "llm_metric_overflows_total"):
            if lost := self._sum(name):
                yield f"{name} is {lost:g}"

    def _answers(self) -> Iterator[str]:
        """Of those who left, nobody knows what the answer was; all others are counted to the last one."""
        glances = {route for route, _ in self.book.looked}
        routes = Counter(line.path for line in self.lines if line.path not in glances)
        left = Counter(
            line.path for line in self.lines if (told := self.book.requests.get(line.request_id)) and told.left
        )
        told = Counter((self._route(each.id), str(each.status)) for each in self.book.requests.values() if each.whole)
        told = Counter({key: count for key, count in told.items() if key[0] not in glances})
        counted, looked = self._counted()
        missing = 0
        for route, expected in (*routes.items(), (UNREAD, self.unread)):
            found = sum(value for key, value in counted.items() if key[0] == route)
            missing += found - expected
            if found < expected or (found > expected and not self.held):
                yield f"{found} answers were counted for {route}, and {expected} lines written"
        if missing > self.held:
            yield f"{missing} answers have no line, and {self.held} lines were held back"
        for (route, status), expected in told.items():
            if not expected <= (found := counted[route, status]) <= expected + left[route]:
                yield f"{expected} callers of {route} were told {status} and {left[route]} left; counted {found}"
        for seen in looked.keys() | self.book.looked.keys():
            if looked[seen] != self.book.looked[seen]:
                yield f"{seen} was looked at {self.book.looked[seen]} times; counted {looked[seen]}"
        floods, heard = sum(self.book.unread.values()), counted[UNREAD, "408"]
        if floods != heard:
            yield f"{floods} heads did not come to their end; counted {heard}"
        yield from self._errors()

    def _counted(self) -> tuple[Counter[tuple[str, str]], Counter[tuple[str, int]]]:
        """Answers by route and status: of questions, and of what was looked at."""
        counted: Counter[tuple[str, str]] = Counter()
        looked: Counter[tuple[str, int]] = Counter()
        for (name, labels), value in self.samples.items():
            if name == "http_requests_total":
                by = dict(labels)
                if by["method"] == "GET" and by["route"] != UNREAD:
                    looked[by["route"], int(by["status"])] += int(value)
                else:
                    counted[by["route"], by["status"]] += int(value)
        return counted, looked

    def _errors(self) -> Iterator[str]:
        told = Counter(each.word for each in self.book.requests.values() if each.whole and each.status >= 400)
        told["request_timeout"] += sum(self.book.unread.values())
        open_: Counter[str] = Counter()
        for line in self.lines:
            if (by := self.book.requests.get(line.request_id)) and not by.whole:
                open_[line.status] += 1
        counted = self._by("llm_request_errors_total", "error_type")
        for word in counted.keys() | told.keys():
            most = told[word] + open_[word] + self.held
            if not told[word] <= counted[word] <= most:
                yield f"{told[word]} to {most} were told {word}; counted {counted[word]}"

    def _route(self, name: str) -> str:
        line, told = self.by_id.get(name), self.book.requests.get(name)
        return line.path if line else told.route if told else ""

    def _same(self, metric: str, label: str, expected: Counter[str]) -> Iterator[str]:
        found = self._by(metric, label)
        for value in found.keys() | expected.keys():
            if found[value] != expected[value]:
                yield f"{metric} of {value or 'all'} is {found[value]}, and {expected[value]} stand in the log"

    def _by(self, metric: str, label: str) -> Counter[str]:
        found: Counter[str] = Counter()
        for (name, labels), value in self.samples.items():
            if name == metric:
                found[dict(labels).get(label, "")] += int(value)
        return found

    def _sum(self, metric: str) -> float:
        return sum(value for (name, _), value in self.samples.items() if name == metric)


_decode = msgspec.json.Decoder(Line).decode
