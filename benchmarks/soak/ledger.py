"""The generator's own count of what it did, by the names that the gateway's metrics have."""

from collections import Counter

from benchmarks.soak.cases import CASES, Case

MOST_COMPLAINTS = 20

Sample = tuple[str, tuple[tuple[str, str], ...]]
"""A metric's name, and its labels in order."""


class Ledger:
    """Every request is noted once, under its case, when it is over."""

    def __init__(self) -> None:
        self.samples: Counter[Sample] = Counter()
        self.calls: dict[str, set[int]] = {name: set() for name in CASES}
        self.stored = 0
        self.requests = 0
        self.complaints: list[str] = []
        """Answers that were not what their case says."""

    def note(self, name: str, number: int) -> None:
        case = CASES[name]
        self.calls[name].add(number)
        self.requests += 1
        self.answered(case.method, case.route, case.code)
        if case.code >= 400 and (case.told or not case.call):
            self._count("llm_request_errors_total", error_type=case.status)
        if case.call:
            self._settled(case, number)

    def answered(self, method: str, route: str, code: int) -> None:
        self._count("http_requests_total", method=method, route=route, status=str(code))

    def complain(self, name: str, number: int, what: str) -> None:
        if len(self.complaints) < MOST_COMPLAINTS:
            self.complaints.append(f"{name}.{number}: {what}")

    def attempts(self, provider: str) -> int:
        return self.samples["llm_provider_requests_total", (("provider", provider),)]

    def _settled(self, case: Case, number: int) -> None:
        provider = case.provider
        self._count("llm_requests_total", provider=provider, status="success" if case.status == "ok" else "error")
        self._count("llm_request_duration_seconds_count", provider=provider)
        for attempt in case.attempts:
            asked, _, word = attempt.partition(":")
            self._count("llm_provider_requests_total", provider=asked)
            self._count("llm_provider_latency_seconds_count", provider=asked)
            if word != "ok":
                self._count("llm_provider_errors_total", provider=asked, error_type=word)
        if case.stream and case.code == 200:
            self._count(
                "llm_streams_total", provider=provider, ending="complete" if case.status == "ok" else case.status
            )
        kind = "hits" if case.shared else "misses" if case.cache == "miss" else "bypasses"
        self._count(f"llm_cache_{kind}_total")
        prompt, completion = case.tokens(number)
        if case.shared:
            self._count("llm_cache_tokens_saved_total", prompt, type="prompt")
            self._count("llm_cache_tokens_saved_total", completion, type="completion")
            return
        self.stored += case.stored
        self._count("llm_token_usage_total", prompt, provider=provider, type="prompt")
        self._count("llm_token_usage_total", completion, provider=provider, type="completion")
        if case.stream and case.code == 200:
            self._count("llm_time_to_first_chunk_seconds_count", provider=provider)

    def _count(self, metric: str, by: int = 1, **labels: str) -> None:
        self.samples[metric, tuple(sorted(labels.items()))] += by
