"""System health: checks and alerts, the machine, the process, and the monitoring itself."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from scripts.dashboards.panels import HEALTH, Section, board, graph, row, states, value
from scripts.dashboards.queries import of, percentiles, quantile, rate, total

EACH = "{{instance}}"
LAG = "llm_event_loop_lag_seconds"


def dashboard() -> Dashboard:
    return board(
        "signalbox-system",
        "Signalbox / System health",
        "Checks, alerts, errors and limits; processor, memory, disk and network; the process and its metrics.",
        _now(),
        _health(),
        _resources(),
        _transfers(),
        _process(),
        _itself(),
        _configuration(),
    )


def _now() -> Section:
    return row(
        "Now",
        value("Processor", "percent", f"max({of('system_cpu_usage_percent')})", "Of the machine.", bad_above=80),
        value("Memory", "percent", f"max({of('system_memory_usage_percent')})", "Machine or container.", bad_above=85),
        value("Disk", "percent", f"max({of('system_disk_usage_percent')})", "Space in use.", bad_above=90),
        value("Event loop lag, P99", "s", quantile(0.99, LAG), "How late the process is for its work.", bad_above=0.25),
        value("Worst check", "short", f"min({of('llm_health_status')})", "As /health says.", words=HEALTH),
        value("Models", "short", total(of("llm_models_loaded")), "Models that can be asked for."),
        value("Models failed", "short", total(of("llm_models_failed")), "Models that cannot.", bad_above=1),
        value(
            "Uptime",
            "s",
            f"time() - max({of('process_start_time_seconds')})",
            "Since the last start of any gateway.",
        ),
    )


def _health() -> Section:
    return row(
        "Status",
        states("Checks", (of("llm_health_status"), "{{check}}"), "Every check of /health.", HEALTH),
        states(
            "Alerts that fire",
            ('ALERTS{alertstate="firing",service="signalbox"}', "{{alertname}} {{provider}}{{model}}{{check}}"),
            "Of the shipped rules; docs/runbooks says what to do.",
            (("1", "firing", "red"),),
        ),
        graph(
            "Changes of state",
            "cps",
            [(rate("llm_health_transitions_total", by="check, to"), "{{check}} to {{to}}")],
            "How often checks change.",
        ),
        graph(
            "How long checks take, P95",
            "s",
            [(quantile(0.95, "llm_health_check_duration_seconds", by="check"), "{{check}}")],
            "Each has its own deadline.",
        ),
        graph(
            "Errors by word",
            "cps",
            [(rate("llm_request_errors_total", by="error_type"), "{{error_type}}")],
            "The log has a line for each, with the same word in status.",
            stacked=True,
        ),
        graph(
            "Refused at the door",
            "cps",
            [
                (rate("llm_auth_attempts_total", 'result!="accepted"', by="result"), "key {{result}}"),
                (rate("llm_visitors_refused_total", by="reason"), "foreign {{reason}}"),
                (rate("llm_rate_limit_hits_total", by="scope"), "limit {{scope}}"),
            ],
            "Wrong or missing keys, foreign web pages, rate limits.",
        ),
    )


def _resources() -> Section:
    return row(
        "Resources",
        graph("Processor", "percent", [(of("system_cpu_usage_percent"), EACH)], "Of the machine or the container."),
        graph(
            "Memory",
            "bytes",
            [(of("system_memory_usage_bytes"), f"{EACH} used"), (of("system_memory_limit_bytes"), f"{EACH} limit")],
            "Of the machine, or of the container where it has a limit.",
        ),
        graph(
            "Disk",
            "bytes",
            [(of("system_disk_usage_bytes"), f"{EACH} used"), (of("system_disk_limit_bytes"), f"{EACH} size")],
            "Where the gateway runs.",
        ),
    )


def _transfers() -> Section:
    return row(
        "Disk and network",
        graph(
            "Disk I/O",
            "Bps",
            [
                (rate("system_disk_read_bytes_total", by="instance"), f"{EACH} read"),
                (rate("system_disk_written_bytes_total", by="instance"), f"{EACH} written"),
            ],
            "Of the whole machine.",
        ),
        graph(
            "Network",
            "Bps",
            [
                (rate("system_network_received_bytes_total", by="instance"), f"{EACH} received"),
                (rate("system_network_sent_bytes_total", by="instance"), f"{EACH} sent"),
            ],
            "Of all interfaces.",
        ),
        graph(
            "Disk in four days",
            "bytes",
            [
                (f"predict_linear({of('system_disk_usage_bytes')}[6h], 4 * 86400)", f"{EACH} used"),
                (of("system_disk_limit_bytes"), f"{EACH} size"),
            ],
            "If it fills as over the last six hours.",
        ),
    )


def _process() -> Section:
    return row(
        "Process",
        graph("Event loop lag", "s", percentiles(LAG), "How late the process comes round to its work."),
        graph(
            "Processor time",
            "percentunit",
            [(rate("process_cpu_seconds_total", by="instance"), EACH)],
            "Of one processor; a gateway uses no more than one.",
        ),
        graph(
            "Memory of the process",
            "bytes",
            [(of("process_resident_memory_bytes"), EACH)],
            "Resident.",
        ),
        graph(
            "File descriptors",
            "short",
            [(of("process_open_fds"), f"{EACH} open"), (of("process_max_fds"), f"{EACH} limit")],
            "Sockets and files.",
        ),
        graph(
            "Tasks and threads",
            "short",
            [(of("llm_tasks"), f"{EACH} tasks"), (of("process_threads"), f"{EACH} threads")],
            "Tasks of the event loop, threads of the process.",
        ),
        graph(
            "Garbage collection",
            "cps",
            [(rate("python_gc_collections_total", by="generation"), "generation {{generation}}")],
            "Collections a second.",
        ),
    )


def _itself() -> Section:
    return row(
        "Monitoring itself",
        graph("Scrape", "s", percentiles("llm_scrape_duration_seconds"), "How long it takes to tell all this."),
        graph(
            "Series by family",
            "short",
            [(f"topk(10, {total(of('llm_metric_series'), by='family')})", "{{family}}")],
            "The ten largest; each has a cap.",
        ),
        graph(
            "Lost detail",
            "cps",
            [
                (rate("llm_metric_overflows_total", by="family"), "overflow of {{family}}"),
                (rate("llm_log_lines_dropped_total"), "log lines dropped"),
                (rate("llm_log_lines_held_total"), "log lines held back"),
                (rate("llm_statsd_timings_dropped_total"), "times not sent to statsd"),
            ],
            "Label values counted as other, log lines nobody took in time, times that waited too long.",
        ),
        graph(
            "Sent to statsd and collectors",
            "cps",
            [
                (rate("llm_statsd_packets_total", by="result"), "datagrams {{result}}"),
                (rate("llm_spans_exported_total"), "spans exported"),
                (rate("llm_spans_dropped_total"), "spans dropped"),
            ],
            "Where statsd.address or a collector is set.",
        ),
    )


def _configuration() -> Section:
    return row(
        "Configuration",
        graph(
            "Configuration read again",
            "short",
            [(f"sum by (result) (increase({of('llm_config_reloads_total')}[$__rate_interval]))", "{{result}}")],
            "On SIGHUP, and when the file has changed; what is refused is not in force.",
        ),
        graph(
            "Configuration taken last",
            "dateTimeAsIso",
            [(f"1000 * {of('llm_config_last_reload_success_timestamp_seconds')}", "{{instance}}")],
            "When what is in force was read.",
        ),
    )
