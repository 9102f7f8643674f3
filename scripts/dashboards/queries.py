"""PromQL as the panels need it: of the gateways the reader chose, over a window that fits the resolution."""

from app.domain.errors import OF_NO_PROVIDER

SCOPE = 'job=~"$job",instance=~"$instance"'
WINDOW = "$__rate_interval"
ASKED_BY_MACHINES = 'route!~"/(health|livez|readyz|metrics|monitoring|api/usage).*"'
"""What probes and scrapers ask is no traffic."""
OF_PROVIDERS = f'error_type!~"{"|".join(sorted(OF_NO_PROVIDER))}"'
"""What callers did tells nothing against a provider."""

Query = tuple[str, str]
"""An expression and the legend of its series."""


def of(metric: str, *matchers: str) -> str:
    """The samples of `metric`."""
    return f"{metric}{{{','.join((SCOPE, *matchers))}}}"


def rate(metric: str, *matchers: str, by: str = "") -> str:
    """How fast a counter grows, by the second."""
    return total(f"rate({of(metric, *matchers)}[{WINDOW}])", by=by)


def total(vector: str, *, by: str = "") -> str:
    return f"sum by ({by}) ({vector})" if by else f"sum({vector})"


def ratio(part: str, whole: str) -> str:
    """A share of 1; 0 where nothing was counted in `part` yet."""
    return f"({part} or 0 * {whole}) / {whole}"


def mean(histogram: str, *matchers: str, by: str = "") -> str:
    return f"{rate(f'{histogram}_sum', *matchers, by=by)} / {rate(f'{histogram}_count', *matchers, by=by)}"


def quantile(share: float, histogram: str, *matchers: str, by: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, {rate(f'{histogram}_bucket', *matchers, by=labels)})"


def percentiles(histogram: str, *matchers: str, by: str = "") -> list[Query]:
    """P50, P95 and P99, of all together or of each `by`."""
    prefix = f"{{{{{by}}}}} " if by else ""
    return [
        (quantile(share, histogram, *matchers, by=by), f"{prefix}{name}")
        for share, name in ((0.5, "P50"), (0.95, "P95"), (0.99, "P99"))
    ]
