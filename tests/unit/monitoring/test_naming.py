"""Names that break a rule are refused with what would be right."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cache.base import CacheSize
from app.monitoring.metrics import Metrics
from app.monitoring.naming import MOST_BUCKETS, MOST_LABELS, RESERVED, MetricError, bounds, family_name, label_names

DOCUMENT = (Path(__file__).parents[3] / "docs" / "custom-metrics.md").read_text()


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("counter", "shopOrders", "snake case: write it shop_orders"),
        ("counter", "ShopHTTPOrders", "write it shop_http_orders"),
        ("counter", "shop.orders", "write it shop_orders"),
        ("counter", "shop__orders", "write it shop_orders"),
        ("gauge", "_shop", "write it shop"),
        ("gauge", "9lives", "write it like shop_orders"),
        ("gauge", "", "write it like shop_orders"),
        ("gauge", "größe", "snake case"),
        ("gauge", 5, "snake case"),
        ("counter", "llm_mine", "begins with llm_, which is taken"),
        ("gauge", "go_home", "begins with go_, which is taken"),
        ("gauge", "shop_orders_total", "says counter, and this is a gauge"),
        ("histogram", "shop_parcel_bytes_total", "says counter, and this is a histogram"),
        ("counter", "shop_orders_count", "ends in _count, which Prometheus adds itself"),
        ("histogram", "shop_bucket", "ends in _bucket"),
        ("counter", "shop_orders_sum_total", "ends in _sum"),
        ("histogram", "shop_wait_milliseconds", "base units only: shop_wait_seconds"),
        ("histogram", "shop_wait_ms", "base units only: shop_wait_seconds"),
        ("counter", "shop_open_hours", "base units only: shop_open_seconds_total"),
        ("gauge", "shop_memory_mb", "base units only: shop_memory_bytes"),
        ("gauge", "shop_used_percent", "base units only: shop_used_ratio, 0 to 1"),
        ("histogram", "shop_wait_duration", "lacks its unit: shop_wait_duration_seconds"),
        ("gauge", "shop_response_time", "lacks its unit: shop_response_time_seconds"),
        ("counter", "shop_working_time_total", "lacks its unit: shop_working_time_seconds_total"),
    ],
)
def test_a_name_is_refused_with_what_would_be_right(kind: Any, name: Any, said: str) -> None:
    with pytest.raises(MetricError, match=re.escape(said)):
        family_name(kind, name)


@pytest.mark.parametrize("name", ["shop_orders", "shop_orders_total"])
def test_a_counters_total_may_be_written_or_left_out(name: str) -> None:
    assert family_name("counter", name) == "shop_orders"


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["shopName"], "write it shop_name"),
        ([7], "snake case"),
        (["__shop"], "Prometheus' own"),
        (["le"], "bound of a bucket"),
        (["quantile"], "summary's"),
        (["job"], "Prometheus adds"),
        (["instance"], "Prometheus adds"),
        (["api_key"], "'key'"),
        (["user"], "'user'"),
        (["user_name"], "'user'"),
        (["path"], "'path'"),
        (["prompt"], "'prompt'"),
        (["email"], "'email'"),
        (["client_ip"], "'ip'"),
        (["id"], "identifier"),
        (["order_id"], "identifier"),
        (["shop", "shop"], "named twice"),
        ([f"label{number}" for number in range(MOST_LABELS + 1)], "too many"),
        ("shop", "a list of names"),
    ],
)
def test_labels_are_refused_with_what_is_wrong(labels: Any, said: str) -> None:
    with pytest.raises(MetricError, match=re.escape(said)):
        label_names(labels)


def test_words_within_words_are_no_matter() -> None:
    labels = ["provider", "tier", "region", "monkey", "shipping", "idle"]

    assert label_names(labels) == tuple(labels)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], f"has 1 to {MOST_BUCKETS} buckets"),
        (range(MOST_BUCKETS + 1), f"has 1 to {MOST_BUCKETS} buckets"),
        ([1, 1], "must rise"),
        ([2, 1], "must rise"),
        ([1, float("inf")], "+Inf is added by itself"),
        ([float("nan")], "finite"),
        (None, "needs buckets"),
    ],
)
def test_buckets_are_refused_with_what_is_wrong(given: Any, said: str) -> None:
    with pytest.raises(MetricError, match=re.escape(said)):
        bounds("shop_items", given)


@pytest.mark.parametrize("unit", ["seconds", "bytes"])
def test_times_and_sizes_have_buckets(unit: str) -> None:
    assert len(bounds(f"shop_{unit}", None)) > 5


@given(st.text())
def test_what_is_taken_is_what_prometheus_takes(name: str) -> None:
    try:
        family = family_name("counter", name)
    except MetricError:
        return
    assert re.fullmatch(r"[a-z][a-z0-9_]*", family)


def test_every_metric_of_the_gateway_is_out_of_reach() -> None:
    exposition, _ = Metrics(cache=CacheSize, version="1").render("")
    families = set(re.findall(r"^# TYPE (\w+)", exposition.decode(), re.MULTILINE))

    assert len(families) > 40
    assert [each for each in families if not each.startswith(RESERVED)] == []


def test_the_document_names_what_is_taken() -> None:
    assert [each for each in RESERVED if f"`{each}`" not in DOCUMENT] == []
