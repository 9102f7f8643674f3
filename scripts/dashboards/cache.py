"""Cache performance: what it saves, what it costs, whether it works."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from scripts.dashboards.panels import DOWN_AND_UP, Section, board, graph, row, states, value
from scripts.dashboards.queries import of, percentiles, rate, total

HITS = rate("llm_cache_hits_total")
MISSES = rate("llm_cache_misses_total")
LOOKUPS = f"({HITS} + {MISSES})"


def dashboard() -> Dashboard:
    return board(
        "signalbox-cache",
        "Signalbox / Cache performance",
        "Hits and misses, what is kept where, evictions, errors and Redis.",
        _now(),
        _lookups(),
        _contents(),
        _redis(),
    )


def _now() -> Section:
    return row(
        "Now",
        value("Hit rate", "percentunit", f"{HITS} / {LOOKUPS}", "Share of lookups that were hits."),
        value("Lookups", "reqps", LOOKUPS, "Calls that were looked up."),
        value(
            "Keys",
            "short",
            total(of("llm_cache_keys_total")),
            "Answers kept, of all gateways; in Redis they share them.",
        ),
        value("Memory", "bytes", total(of("llm_cache_memory_bytes")), "Of the cache, as its backend counts."),
        value("Evictions", "cps", rate("llm_cache_evictions_total"), "Answers that had to make room."),
        value("Errors", "cps", rate("llm_cache_errors_total"), "Operations that failed.", bad_above=0.1),
        value("Tokens saved", "short", _saved("increase", "$__range"), "Within the time shown."),
        value(
            "Calls not looked up", "reqps", rate("llm_cache_bypasses_total"), "By their caller's wish or the setting."
        ),
    )


def _lookups() -> Section:
    return row(
        "Lookups",
        graph(
            "Hits, misses and bypasses",
            "reqps",
            [(HITS, "hits"), (MISSES, "misses"), (rate("llm_cache_bypasses_total"), "bypasses")],
            "Calls answered from the cache or another call's answer, looked up in vain, not looked up.",
            stacked=True,
        ),
        graph(
            "Hit and miss rate",
            "percentunit",
            [(f"{HITS} / {LOOKUPS}", "hits"), (f"{MISSES} / {LOOKUPS}", "misses")],
            "Shares of lookups.",
        ),
        graph(
            "Time spent in the cache",
            "s",
            percentiles("llm_overhead_seconds", 'phase="cache"'),
            "Of each call, lookups in vain included.",
        ),
        graph(
            "Tokens saved",
            "short",
            [(_saved("rate", "$__rate_interval", by="type"), "{{type}}")],
            "A second: of answers that were served again.",
            stacked=True,
        ),
    )


def _contents() -> Section:
    return row(
        "Contents",
        graph(
            "Keys by place",
            "short",
            [
                (total(of("llm_cache_keys_total"), by="instance"), "{{instance}} cache"),
                (total(of("llm_cache_near_keys"), by="instance"), "{{instance}} in front of Redis"),
            ],
            "Where answers are kept. With Redis every gateway tells the same shared cache.",
        ),
        graph(
            "Memory by place",
            "bytes",
            [
                (total(of("llm_cache_memory_bytes"), by="instance"), "{{instance}} cache"),
                (total(of("llm_cache_near_bytes"), by="instance"), "{{instance}} in front of Redis"),
            ],
            "What they take.",
        ),
        graph(
            "Mean size of an answer",
            "bytes",
            [
                (
                    f"{total(of('llm_cache_memory_bytes'), by='instance')}"
                    f" / {total(of('llm_cache_keys_total'), by='instance')}",
                    "{{instance}}",
                )
            ],
            "Memory over keys, overhead of the backend included.",
        ),
        graph(
            "Evictions",
            "cps",
            [(rate("llm_cache_evictions_total", by="instance"), "{{instance}}")],
            "Answers that had to make room: if many, the cache is too small.",
        ),
    )


def _redis() -> Section:
    return row(
        "Redis",
        states(
            "Redis", (of("llm_redis_up"), "{{instance}}"), "As each gateway sees it; empty without Redis.", DOWN_AND_UP
        ),
        graph("Ping", "s", [(of("llm_redis_latency_seconds"), "{{instance}}")], "Round trip of the last ping."),
        graph(
            "Failed operations",
            "cps",
            [(rate("llm_cache_errors_total", by="instance"), "{{instance}}")],
            "Reads and writes that failed; calls are answered all the same.",
        ),
        graph(
            "Breaker",
            "none",
            [
                (of("llm_redis_breaker_state"), "{{instance}}"),
                (of("llm_redis_policy_unsafe"), "{{instance}} will refuse writes"),
            ],
            "2 while a gateway leaves Redis alone, 1 while it tries it.",
        ),
        graph(
            "Failures by kind",
            "cps",
            [(rate("llm_redis_errors_total", by="kind"), "{{kind}}")],
            "What is wrong with Redis, trials while it is left alone included.",
        ),
        graph(
            "Not taken, not written",
            "cps",
            [
                (rate("llm_cache_rejected_total", by="reason"), "not taken: {{reason}}"),
                (rate("llm_cache_writes_dropped_total", by="reason"), "not written: {{reason}}"),
            ],
            "Values somebody else may have written, and answers that found no Redis.",
        ),
    )


def _saved(function: str, window: str, *, by: str = "") -> str:
    return total(f"{function}({of('llm_cache_tokens_saved_total')}[{window}])", by=by)
