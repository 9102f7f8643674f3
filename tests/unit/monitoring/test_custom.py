"""Metrics of somebody else's: counted as they say, refused where they would break the rules."""

import math
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open_metrics

from app.cache.base import CacheSize
from app.container import Container
from app.monitoring import metrics as guide
from app.monitoring.custom import MOST_METRICS, CustomMetrics, counter
from app.monitoring.metrics import Metrics
from app.monitoring.naming import MetricError
from app.monitoring.plugins import GROUP, load_plugins
from app.monitoring.tally import LONGEST_LABEL, Tally
from app.settings import ConfigError, load
from tests.support.metrics import value

REGISTERED: list[CustomMetrics] = []


def register(custom: CustomMetrics) -> None:
    """What an entry point of a test names."""
    REGISTERED.append(custom)
    custom.counter("shop_plugged", "Plugged")


def register_wrongly(custom: CustomMetrics) -> None:
    custom.counter("llm_mine", "Mine")


def register_nothing(custom: CustomMetrics) -> None:
    raise RuntimeError("no shop today")


def shown(custom: CustomMetrics, *, max_series: int = 2000) -> Metrics:
    metrics = Metrics(cache=CacheSize, version="1", max_series=max_series)
    custom.join(metrics.tally)
    return metrics


@pytest.fixture
def custom() -> CustomMetrics:
    return CustomMetrics()


def test_a_counter_counts_by_its_labels(custom: CustomMetrics) -> None:
    orders = custom.counter("shop_orders_total", "Orders", ["shop", "paid"])
    orders.inc({"shop": "north", "paid": True})
    orders.inc({"paid": True, "shop": "north"}, 2.5)

    assert value(shown(custom), "shop_orders_total", shop="north", paid="True") == 3.5


def test_a_gauge_rises_and_falls(custom: CustomMetrics) -> None:
    waiting = custom.gauge("shop_waiting", "Waiting")
    waiting.set(5)
    waiting.inc()
    waiting.dec(amount=10)

    assert value(shown(custom), "shop_waiting") == -4


def test_a_histogram_counts_into_buckets(custom: CustomMetrics) -> None:
    items = custom.histogram("shop_items", "Items of an order", ["shop"], buckets=[1, 10])
    items.observe(1, {"shop": "north"})
    items.observe(2, {"shop": "north"})
    metrics = shown(custom)

    assert value(metrics, "shop_items_bucket", shop="north", le="1.0") == 1
    assert value(metrics, "shop_items_bucket", shop="north", le="10.0") == 2
    assert value(metrics, "shop_items_sum", shop="north") == 3


def test_both_formats_can_be_read(custom: CustomMetrics) -> None:
    custom.counter("shop_orders", 'Orders\n"so"', ["shop"]).inc({"shop": 'a"b\\c\nd'})
    custom.histogram("shop_wait_seconds", "Waits").observe(1)

    text = shown(custom).render("application/openmetrics-text; version=1.0.0")[0].decode()

    families = {each.name: each for each in parse_open_metrics(text)}
    assert families["shop_orders"].samples[0].labels == {"shop": 'a"b\\c\nd'}
    assert families["shop_wait_seconds"].unit == "seconds"


def test_the_lines_of_the_guide_work_as_printed() -> None:
    metrics = Container(settings=load(None, {}).settings).monitoring.metrics()

    def counted() -> tuple[float, float]:
        calls = value(metrics, "custom_requests_total", provider="openai", model="gpt-4")
        seconds = value(metrics, "custom_response_time_seconds_sum", endpoint="/chat/completions")
        return calls or 0, seconds or 0

    calls, seconds = counted()
    guide.request_counter.inc({"provider": "openai", "model": "gpt-4"})
    guide.response_time.observe(0.5, {"endpoint": "/chat/completions"})

    assert counted() == (calls + 1, seconds + 0.5)


def test_what_is_declared_after_the_container_was_made_is_shown_by_all_of_them() -> None:
    containers = [Container(settings=load(None, {}).settings) for _ in range(2)]
    metrics = [each.monitoring.metrics() for each in containers]

    counter("shop_late", "Late").inc()

    assert [value(each, "shop_late_total") for each in metrics] == [1, 1]


def test_values_beyond_its_share_count_as_other(custom: CustomMetrics) -> None:
    orders = custom.counter("shop_orders", "Orders", ["shop"])
    metrics = shown(custom, max_series=100)
    for number in range(1000):
        orders.inc({"shop": str(number)})

    assert value(metrics, "shop_orders_total", shop="other") == 900
    assert value(metrics, "llm_metric_series", family="shop_orders") == 101
    assert value(metrics, "llm_metric_overflows_total", family="shop_orders") == 900


def test_a_histogram_takes_its_share_by_samples(custom: CustomMetrics) -> None:
    items = custom.histogram("shop_items", "Items", ["shop"], buckets=range(17))
    metrics = shown(custom, max_series=100)
    for number in range(1000):
        items.observe(number, {"shop": str(number)})

    assert value(metrics, "llm_metric_series", family="shop_items") == 20 * (5 + 1)
    assert value(metrics, "shop_items_count", shop="other") == 995


def test_long_values_are_cut(custom: CustomMetrics) -> None:
    custom.counter("shop_orders", "Orders", ["shop"]).inc({"shop": "x" * 1000})

    assert value(shown(custom), "shop_orders_total", shop="x" * LONGEST_LABEL) == 1


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (None, "was declared with shop, region, and got none"),
        ({"shop": "north"}, "got shop"),
        ({"shop": "north", "region": "a", "tier": "b"}, "got shop, region, tier"),
        ({"shop": "north", "Region": "a"}, "got shop, Region"),
        ({"shop": "north", "region": None}, "the label region is a string, and not None"),
        ({"shop": "north", "region": 0.5}, "is a string, and not 0.5"),
        (3, "labels are a mapping"),
        (["north", "a"], "labels are a mapping"),
    ],
)
def test_other_labels_than_the_declared_ones_are_refused(custom: CustomMetrics, labels: Any, said: str) -> None:
    orders = custom.counter("shop_orders", "Orders", ["shop", "region"])

    with pytest.raises(MetricError, match=said):
        orders.inc(labels)


def test_labels_where_none_were_declared_are_refused(custom: CustomMetrics) -> None:
    with pytest.raises(MetricError, match="was declared with no labels, and got shop"):
        custom.gauge("shop_waiting", "Waiting").set(1, {"shop": "north"})


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, "1", None])
def test_what_is_no_finite_number_is_refused(custom: CustomMetrics, number: Any) -> None:
    metrics = [custom.counter("a", "A"), custom.gauge("b", "B"), custom.gauge("c", "C"), custom.gauge("d", "D")]
    count, up, down, kept = metrics
    seen = custom.histogram("e_seconds", "E")

    for use in (
        lambda: count.inc(amount=number),
        lambda: up.inc(amount=number),
        lambda: down.dec(amount=number),
        lambda: kept.set(number),  # type: ignore[union-attr] # a gauge
        lambda: seen.observe(number),
    ):
        with pytest.raises(MetricError, match="is not a finite number"):
            use()

    assert value(shown(custom), "e_seconds_count") is None


def test_a_counter_and_a_histogram_never_fall(custom: CustomMetrics) -> None:
    orders, waits = custom.counter("shop_orders", "Orders"), custom.histogram("shop_wait_seconds", "Waits")

    with pytest.raises(MetricError, match="take a gauge"):
        orders.inc(amount=-1)
    with pytest.raises(MetricError, match="never falls"):
        waits.observe(-0.1)


@pytest.mark.parametrize("again", ["counter", "gauge"])
def test_a_name_is_given_once(custom: CustomMetrics, again: str) -> None:
    custom.counter("shop_orders_total", "Orders")

    with pytest.raises(MetricError, match="there already is a metric shop_orders"):
        getattr(custom, again)("shop_orders", "Orders")


@pytest.mark.parametrize("text", ["", "  ", None])
def test_a_metric_says_what_it_counts(custom: CustomMetrics, text: Any) -> None:
    with pytest.raises(MetricError, match="says what it counts"):
        custom.counter("shop_orders", text)


def test_there_are_so_many_metrics_and_no_more(custom: CustomMetrics) -> None:
    for number in range(MOST_METRICS):
        custom.gauge(f"shop_{number}", "Shop")

    with pytest.raises(MetricError, match="belongs into labels"):
        custom.gauge("shop_more", "Shop")


def test_whoever_catches_value_errors_catches_these() -> None:
    assert issubclass(MetricError, ValueError)


def test_a_tally_takes_no_second_family_of_a_name(custom: CustomMetrics) -> None:
    tally = Tally()
    tally.counter("shop_orders", "Orders")
    family = tally.families["shop_orders"]
    custom.gauge("shop_orders", "Orders")
    custom.join(tally)

    assert tally.families["shop_orders"] is family
    with pytest.raises(ValueError, match="there already is"):
        tally.adopt(family)


def test_threads_lose_nothing_while_it_is_read(custom: CustomMetrics) -> None:
    orders = custom.counter("shop_orders", "Orders", ["shop"])
    items = custom.histogram("shop_items", "Items", ["shop"], buckets=[1, 2, 3])
    waiting = custom.gauge("shop_waiting", "Waiting")
    metrics = shown(custom)
    each_thread, threads = 5000, 4

    def work(_: int) -> None:
        for number in range(each_thread):
            orders.inc({"shop": str(number % 100)})
            items.observe(number % 5, {"shop": str(number % 100)})
            waiting.inc()

    with ThreadPoolExecutor(threads) as pool:
        running = [pool.submit(work, number) for number in range(threads)]
        while not all(each.done() for each in running):
            metrics.render("")
        for each in running:
            each.result()

    shops = range(100)
    assert sum(value(metrics, "shop_orders_total", shop=str(shop)) or 0 for shop in shops) == each_thread * threads
    assert sum(value(metrics, "shop_items_count", shop=str(shop)) or 0 for shop in shops) == each_thread * threads
    assert value(metrics, "shop_waiting") == each_thread * threads


def entry_point(name: str) -> EntryPoint:
    return EntryPoint(name="shop", value=f"{__name__}:{name}", group=GROUP)


def test_a_plugin_is_called_once_for_a_catalogue(custom: CustomMetrics) -> None:
    load_plugins(custom, [entry_point("register")])
    load_plugins(custom, [entry_point("register")])

    assert REGISTERED.count(custom) == 1
    assert "shop_plugged" in shown(custom).tally.families


def test_a_plugin_that_is_a_module_is_imported(custom: CustomMetrics) -> None:
    load_plugins(custom, [EntryPoint(name="shop", value="json", group=GROUP)])

    assert custom.plugins == {"shop"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("register_wrongly", r"the plugin shop: the name 'llm_mine' begins with llm_"),
        ("register_nothing", r"the plugin shop: RuntimeError: no shop today"),
        ("not_there", r"the plugin shop: AttributeError"),
    ],
)
def test_a_plugin_that_cannot_is_named(custom: CustomMetrics, name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_plugins(custom, [entry_point(name)])
