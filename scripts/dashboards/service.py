"""Service overview: is it well, who asks what, how fast is the answer."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from scripts.dashboards.panels import Section, board, graph, row, value
from scripts.dashboards.queries import (
    ASKED_BY_MACHINES,
    OF_PROVIDERS,
    mean,
    of,
    percentiles,
    quantile,
    rate,
    ratio,
    total,
)

HTTP = "http_request_duration_seconds"
REQUESTS = rate("http_requests_total", ASKED_BY_MACHINES)
FAILED = rate("http_requests_total", ASKED_BY_MACHINES, 'status=~"5.."')


def dashboard() -> Dashboard:
    return board(
        "signalbox-service",
        "Signalbox / Service overview",
        "Volume, errors, latency and what was used, of the whole gateway.",
        _now(),
        _requests(),
        _traffic(),
        _models(),
        _answers(),
        _usage(),
    )


def _now() -> Section:
    return row(
        "Now",
        value("Requests", "reqps", REQUESTS, "Requests answered, probes and scrapes left out."),
        value("Errors", "percentunit", ratio(FAILED, REQUESTS), "Share of answers that are 5xx.", bad_above=0.05),
        value(
            "P95 latency", "s", quantile(0.95, HTTP, ASKED_BY_MACHINES), "To the last byte, streams too.", bad_above=2
        ),
        value("Mean latency", "s", mean(HTTP, ASKED_BY_MACHINES), "To the last byte, streams included."),
        value(
            "Active providers", "short", total(of("llm_provider_up")), "Providers that count as up, of each gateway."
        ),
        value("Cache hits", "percentunit", _hits(), "Share of lookups answered from the cache."),
        value("Calls on their way", "short", total(of("llm_active_requests")), "Calls that are not settled yet."),
        value("Gateways", "short", f"count({of('llm_build_info')})", "Processes that tell their metrics."),
    )


def _requests() -> Section:
    return row(
        "Requests",
        graph(
            "Request rate by status",
            "reqps",
            [(rate("http_requests_total", ASKED_BY_MACHINES, by="status"), "{{status}}")],
            "Every answer, by its HTTP status.",
            stacked=True,
        ),
        graph(
            "Success and error rate of calls",
            "percentunit",
            [
                (ratio(rate("llm_requests_total", f'status="{status}"'), rate("llm_requests_total")), status)
                for status in ("success", "error")
            ],
            "Settled calls, cache hits included. A client that leaves counts as an error.",
        ),
        graph("Response time", "s", percentiles(HTTP, ASKED_BY_MACHINES), "From the first byte to the last."),
        graph(
            "Errors by word",
            "reqps",
            [(rate("llm_request_errors_total", by="error_type"), "{{error_type}}")],
            "Answers that were errors; docs/errors.md explains the words.",
            stacked=True,
        ),
    )


def _traffic() -> Section:
    return row(
        "Traffic",
        graph(
            "Request rate by route",
            "reqps",
            [(rate("http_requests_total", by="route"), "{{route}}")],
            "Templates of routes; paths nobody serves stand together.",
        ),
        graph(
            "In flight and connections",
            "short",
            [
                (total(of("http_requests_in_flight")), "requests in flight"),
                (total(of("http_connections")), "connections"),
                (rate("http_connections_refused_total"), "connections turned away, a second"),
                (rate("http_client_disconnects_total"), "clients that left, a second"),
            ],
            "Requests being answered, clients connected or turned away, and clients that left before the end.",
        ),
        graph(
            "Size of requests and answers, P95",
            "bytes",
            [
                (quantile(0.95, "http_request_size_bytes"), "requests"),
                (quantile(0.95, "http_response_size_bytes"), "answers"),
            ],
            "Bodies as they came and went.",
        ),
        graph(
            "Where the time goes, mean by phase",
            "s",
            [(mean("llm_overhead_seconds", by="phase"), "{{phase}}")],
            "upstream_wait and stream are the provider's time, the others ours.",
            stacked=True,
        ),
    )


def _models() -> Section:
    return row(
        "Models",
        graph(
            "Calls by model",
            "reqps",
            [(rate("model_inference_total", by="model"), "{{model}}")],
            "Names as callers use them; unknown ones stand together.",
        ),
        graph(
            "Inference latency by model, P95",
            "s",
            [(quantile(0.95, "model_inference_duration_seconds", by="model"), "{{model}}")],
            "From the call to its last byte.",
        ),
    )


def _answers() -> Section:
    return row(
        "Answers of models",
        graph(
            "Time to first token",
            "s",
            percentiles("model_time_to_first_token_seconds"),
            "Streams only: what people wait for.",
        ),
        graph(
            "Tokens a second, median by model",
            "short",
            [(quantile(0.5, "model_tokens_per_second", by="model"), "{{model}}")],
            "How fast one answer is written.",
        ),
        graph(
            "Failed calls by model",
            "percentunit",
            [
                (
                    ratio(
                        rate("model_inference_errors_total", OF_PROVIDERS, by="model"),
                        rate("model_inference_total", by="model"),
                    ),
                    "{{model}}",
                )
            ],
            "Share of a model's calls that ended with an error, callers' doings left out.",
        ),
        graph(
            "How streams ended",
            "reqps",
            [(rate("llm_streams_total", by="ending"), "{{ending}}")],
            "complete, or the word for what cut them; callers saw status 200 in any case.",
            stacked=True,
        ),
    )


def _usage() -> Section:
    return row(
        "Usage",
        graph(
            "Tokens by type",
            "short",
            [(rate("llm_token_usage_total", by="type"), "{{type}}"), (rate("llm_token_usage_total"), "total")],
            "Tokens a second, as providers counted them.",
        ),
        graph(
            "Tokens generated by model",
            "short",
            [(rate("model_tokens_generated_total", by="model"), "{{model}}")],
            "Completion tokens a second.",
        ),
        graph(
            "Active models and keys",
            "short",
            [(total(of("llm_active_models")), "models"), (total(of("llm_active_keys")), "keys")],
            "Seen within the last five minutes, by each gateway.",
        ),
        graph(
            "Keys and limits",
            "reqps",
            [
                (rate("llm_auth_attempts_total", by="result"), "keys {{result}}"),
                (rate("llm_rate_limit_hits_total", by="scope"), "limit {{scope}}"),
            ],
            "Requests by how their key was judged, and those a rate limit refused.",
        ),
    )


def _hits() -> str:
    hits, misses = rate("llm_cache_hits_total"), rate("llm_cache_misses_total")
    return f"{hits} / ({hits} + {misses})"
