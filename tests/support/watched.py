"""Where metrics are served, the operator's own path `/mine` included, and who may read them."""

PATHS = [
    "/metrics",
    "/metrics/prometheus",
    "/metrics?format=json",
    "/monitoring/metrics",
    "/monitoring/metrics/detailed",
    "/api/usage",
    "/api/usage?format=prometheus",
    "/mine",
]
KEY = "sk-alice-0123456789abcdef"
METRICS_KEY = "sk-metrics-0011223344"
