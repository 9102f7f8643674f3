"""What the door counts: who was let in, and who was not."""

from app.monitoring.tally import Tally


class SecurityMetrics:
    """`result` of an attempt is `accepted`, `missing` (no key was sent) or `refused` (it is none of ours)."""

    def __init__(self, tally: Tally) -> None:
        attempts = tally.counter("llm_auth_attempts", "Requests where a key was asked for, by what came", "result")
        self.accepted, self.missing, self.refused = map(attempts.of, ("accepted", "missing", "refused"))
        visitors = tally.counter("llm_visitors_refused", "Requests refused for what they say of themselves", "reason")
        self.host, self.origin, self.repeated = map(visitors.of, ("host", "origin", "repeated"))
        limits = tally.counter("llm_rate_limit_hits", "Requests over a limit", "scope")
        limits.of("global")  # there is none yet
        self.wrong_keys = limits.of("wrong_keys")
