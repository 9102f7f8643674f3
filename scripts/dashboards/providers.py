"""Provider performance: who answers, how well, how fast, at what price."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from scripts.dashboards.panels import BREAKER, DOWN_AND_UP, Section, board, graph, row, states, value
from scripts.dashboards.queries import OF_PROVIDERS, mean, of, percentiles, quantile, rate, ratio, total

CHOSEN = 'provider=~"$provider"'
ATTEMPTS = rate("llm_provider_requests_total", CHOSEN)
ATTEMPTS_OF_EACH = rate("llm_provider_requests_total", CHOSEN, by="provider")


def dashboard() -> Dashboard:
    return board(
        "signalbox-providers",
        "Signalbox / Provider performance",
        "What stands behind the gateway: state, errors, latency, streams, connections, tokens and cost.",
        _now(),
        _answers(),
        _latency(),
        _streams(),
        _ends(),
        _routing(),
        _breakers(),
        _endpoints(),
        _connections(),
        _usage(),
        variables=["provider=llm_provider_up"],
    )


def _now() -> Section:
    failed = rate("llm_provider_errors_total", CHOSEN, OF_PROVIDERS)
    return row(
        "Now",
        value("Attempts", "reqps", ATTEMPTS, "Requests sent to providers."),
        value(
            "Failed attempts",
            "percentunit",
            ratio(failed, ATTEMPTS),
            "Share of attempts, callers' doings left out.",
            bad_above=0.1,
        ),
        value("P95 latency", "s", quantile(0.95, "llm_provider_latency_seconds", CHOSEN), "Until an attempt answered."),
        value(
            "Uptime",
            "percentunit",
            f"avg(avg_over_time({of('llm_provider_up', CHOSEN)}[$__range]))",
            "Share of the time shown in which providers counted as up.",
        ),
        value("Providers down", "short", f"count({_up()}) - {total(_up())}", "Of each gateway.", bad_above=1),
        value(
            "Waiting calls", "short", total(of("llm_endpoint_queue_depth", CHOSEN)), "For a connection.", bad_above=100
        ),
        value("Fallbacks", "reqps", rate("llm_fallbacks_total", CHOSEN), "Calls that went on to another target."),
        value("Retries", "reqps", rate("llm_retries_total", CHOSEN), "Attempts at the same target again."),
    )


def _answers() -> Section:
    failed = rate("llm_provider_errors_total", CHOSEN, OF_PROVIDERS, by="provider")
    return row(
        "Answers",
        states("Up and down", (_up(), "{{provider}}"), "As the gateway judges by calls and probes.", DOWN_AND_UP),
        graph(
            "Attempts", "reqps", [(ATTEMPTS_OF_EACH, "{{provider}}")], "Requests sent to each provider.", stacked=True
        ),
        graph(
            "Success rate",
            "percentunit",
            [(f"1 - {ratio(failed, ATTEMPTS_OF_EACH)}", "{{provider}}")],
            "Share of attempts that did not fail by the provider's fault.",
        ),
        graph(
            "Errors by word",
            "reqps",
            [(rate("llm_provider_errors_total", CHOSEN, by="provider, error_type"), "{{provider}} {{error_type}}")],
            "All failed attempts, callers' doings too; docs/errors.md explains the words.",
            stacked=True,
        ),
    )


def _latency() -> Section:
    return row(
        "Latency",
        graph(
            "Response time",
            "s",
            percentiles("llm_provider_latency_seconds", CHOSEN, by="provider"),
            "Until an attempt answered, of a stream until its first event, or failed.",
        ),
        graph(
            "Mean response time",
            "s",
            [(mean("llm_provider_latency_seconds", CHOSEN, by="provider"), "{{provider}}")],
            "As above.",
        ),
        graph(
            "Whole calls",
            "s",
            percentiles("llm_request_duration_seconds", CHOSEN, by="provider"),
            "From the call to its last byte, by the provider that answered in the end.",
        ),
        graph(
            "Calls",
            "reqps",
            [(rate("llm_requests_total", CHOSEN, by="provider, status"), "{{provider}} {{status}}")],
            "Settled calls, cache hits included.",
        ),
    )


def _streams() -> Section:
    return row(
        "Streams",
        graph(
            "Time to first chunk",
            "s",
            percentiles("llm_time_to_first_chunk_seconds", CHOSEN, by="provider"),
            "From the call to the first event.",
        ),
        graph(
            "Time per output token",
            "s",
            percentiles("llm_time_per_output_token_seconds", CHOSEN, by="provider"),
            "After the first one.",
        ),
        graph(
            "Largest gap",
            "s",
            percentiles("llm_stream_largest_gap_seconds", CHOSEN, by="provider"),
            "The longest silence within a stream.",
        ),
    )


def _ends() -> Section:
    return row(
        "Streams in numbers",
        graph(
            "How streams ended",
            "reqps",
            [(rate("llm_streams_total", CHOSEN, by="provider, ending"), "{{provider}} {{ending}}")],
            "complete, or the word for what cut them.",
            stacked=True,
        ),
        graph(
            "Chunks",
            "cps",
            [(rate("llm_stream_chunks_total", CHOSEN, by="provider"), "{{provider}}")],
            "Events passed on.",
        ),
        graph(
            "Bytes",
            "Bps",
            [(rate("llm_stream_bytes_total", CHOSEN, by="provider"), "{{provider}}")],
            "Of streams passed on.",
        ),
    )


def _routing() -> Section:
    return row(
        "Routing",
        graph(
            "Why a provider was chosen",
            "reqps",
            [(rate("llm_routing_decisions_total", CHOSEN, by="provider, reason"), "{{provider}} {{reason}}")],
            "By a route, by its prefix, because it lists the model, or as a fallback.",
        ),
        graph(
            "Retries and fallbacks",
            "reqps",
            [
                (rate("llm_retries_total", CHOSEN, by="provider, reason"), "retry {{provider}} {{reason}}"),
                (rate("llm_fallbacks_total", CHOSEN, by="provider, reason"), "left {{provider}} {{reason}}"),
            ],
            "The same target again, and targets that were left for the next.",
        ),
    )


def _breakers() -> Section:
    stand = f"max by (provider, scope) ({of('llm_circuit_breaker_state', CHOSEN)})"
    turns = rate("llm_circuit_breaker_transitions_total", CHOSEN, by="provider, scope, to")
    return row(
        "Breakers",
        states("Breakers", (stand, "{{provider}} {{scope}}"), "Of providers, and the worst of their models.", BREAKER),
        graph(
            "Left alone",
            "reqps",
            [
                (rate("llm_circuit_breaker_skips_total", CHOSEN, by="provider"), "passed over {{provider}}"),
                (turns, "{{provider}} {{scope}} {{to}}"),
                (rate("llm_retries_refused_total", CHOSEN, by="provider"), "no retry {{provider}}"),
            ],
            "Targets passed over, breakers that turned, and retries the budget did not allow.",
        ),
    )


def _endpoints() -> Section:
    return row(
        "Endpoints",
        states(
            "Endpoints up and down",
            (of("llm_endpoint_up", CHOSEN), "{{provider}} {{endpoint}}"),
            "A provider's address; version and kind stand in llm_endpoint_info.",
            DOWN_AND_UP,
        ),
        graph(
            "Versions",
            "short",
            [
                (
                    f"count by (provider, endpoint, kind, version) ({of('llm_endpoint_info', CHOSEN)})",
                    "{{provider}} {{kind}} {{version}}",
                )
            ],
            "How many gateways see which version of an endpoint.",
        ),
    )


def _connections() -> Section:
    return row(
        "Connections",
        graph(
            "Connections",
            "short",
            [
                (total(of("llm_endpoint_connections", CHOSEN), by="provider, state"), "{{provider}} {{state}}"),
                (total(of("llm_endpoint_connections_limit", CHOSEN), by="provider"), "{{provider}} limit"),
            ],
            "Busy and idle ones, and how many there may be.",
        ),
        graph(
            "Waiting calls",
            "short",
            [
                (total(of("llm_endpoint_queue_depth", CHOSEN), by="provider"), "{{provider}} waiting"),
                (rate("llm_endpoint_queue_rejections_total", CHOSEN, by="provider"), "{{provider}} refused, a second"),
            ],
            "Calls that wait for a connection, and those that waited in vain.",
        ),
        graph(
            "Calls on their way",
            "short",
            [(total(of("llm_endpoint_active_requests", CHOSEN), by="provider, model"), "{{provider}} {{model}}")],
            "By endpoint and model.",
            stacked=True,
        ),
        graph(
            "Waiting for a connection, P95",
            "s",
            [(quantile(0.95, "llm_overhead_seconds", 'phase="connect"'), "all providers")],
            "Connecting, or until a kept connection came free.",
        ),
    )


def _usage() -> Section:
    return row(
        "Tokens and cost",
        graph(
            "Tokens",
            "short",
            [(rate("llm_token_usage_total", CHOSEN, by="provider, type"), "{{provider}} {{type}}")],
            "A second, as providers counted them.",
            stacked=True,
        ),
        graph(
            "Tokens by model",
            "short",
            [(rate("llm_model_tokens_total", CHOSEN, by="provider, model, type"), "{{provider}} {{model}} {{type}}")],
            "A second, of each provider's models.",
        ),
        graph(
            "Cost",
            "currencyUSD",
            [(f"3600 * {rate('llm_cost_usd_total', CHOSEN, by='provider, model')}", "{{provider}} {{model}}")],
            "US dollars an hour; 0 where no price is known.",
            stacked=True,
        ),
        graph(
            "Cost of a call",
            "currencyUSD",
            [(f"{rate('llm_cost_usd_total', CHOSEN, by='provider')} / {ATTEMPTS_OF_EACH}", "{{provider}}")],
            "US dollars an attempt, in the mean.",
        ),
    )


def _up() -> str:
    return of("llm_provider_up", CHOSEN)
