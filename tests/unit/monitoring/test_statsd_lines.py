"""No label's value ends a line, or a tag, before its time."""

import re

from hypothesis import given
from hypothesis import strategies as st

from app.monitoring.statsd.lines import Dialect, tag
from tests.support.statsd import Line

TAGS = Dialect("signalbox.", ("env:test",))
PLAIN = Dialect("signalbox.", None)
SECONDS = st.floats(min_value=0, max_value=1e6)


def test_dogstatsd_has_tags() -> None:
    labels = (("provider", "openai"), ("status", "success"))

    assert TAGS.count("llm_requests_total", labels, 3) == (
        b"signalbox.llm_requests_total:3|c|#env:test,provider:openai,status:success"
    )
    assert TAGS.gauge("llm_active_requests", (), -2.5) == b"signalbox.llm_active_requests:-2.5|g|#env:test"
    assert Dialect("", ()).gauge("up", (), 1) == b"up:1|g"


def test_plain_statsd_has_values_in_the_name() -> None:
    labels = (("provider", "open.ai"), ("status", ""))

    assert PLAIN.count("llm_requests_total", labels, 3) == b"signalbox.llm_requests_total.open_ai._:3|c"
    assert PLAIN.gauge("up", (), 0.25) == b"signalbox.up:0.25|g"


def test_a_sign_is_no_change_for_plain_statsd() -> None:
    assert PLAIN.gauge("lag", (), -5) == b"signalbox.lag:0|g\nsignalbox.lag:-5|g"


def test_what_would_break_a_tag_is_replaced() -> None:
    assert tag("a|b:c,d#e\nf@g h\x00i") == "a_b_c_d_e_f_g_h_i"
    assert tag("") == "_"
    assert tag("größe/x-1.5") == "größe/x-1.5"


@given(st.text(), st.text())
def test_any_value_is_one_tag(one: str, two: str) -> None:
    line = TAGS.count("n", (("a", one), ("b", two)), 1).decode()

    assert Line.parse(line)[:4] == ("signalbox.n", "c", [1], (*sorted((("a", _sent(one)), ("b", _sent(two)))), ENV))


ENV = ("env", "test")


def _sent(value: str) -> str:
    return tag(value).encode("utf-8", "replace").decode()


@given(st.text())
def test_any_value_is_one_part_of_a_plain_name(value: str) -> None:
    line = PLAIN.count("n", (("a", value),), 1).decode()

    assert re.fullmatch(r"signalbox\.n\.[A-Za-z0-9_-]+:1\|c", line)


@given(st.lists(SECONDS), st.integers(min_value=80, max_value=400))
def test_times_share_lines_as_far_as_these_go(seconds: list[float], limit: int) -> None:
    lines = list(TAGS.timings("wait_seconds", (("p", "one"),), seconds, rate=1, limit=limit))

    parsed = [Line.parse(line.decode()) for _, line in lines]
    assert [value for each in parsed for value in each.values] == seconds
    assert [taken for taken, _ in lines] == [len(each.values) for each in parsed]
    assert all(len(line) <= limit for _, line in lines)
    assert {(each.name, each.kind) for each in parsed} <= {("signalbox.wait_seconds", "d")}


def test_plain_times_are_milliseconds_and_a_sample_says_so() -> None:
    lines = list(PLAIN.timings("wait_seconds", (("p", "one"),), [0.25, 0.0123456], rate=0.5, limit=100))

    assert lines == [(1, b"signalbox.wait.one:250|ms|@0.5"), (1, b"signalbox.wait.one:12.346|ms|@0.5")]


def test_a_sample_of_dogstatsds_says_so() -> None:
    ((taken, line),) = TAGS.timings("wait_seconds", (), [1, 2], rate=0.1, limit=100)

    assert (taken, line) == (2, b"signalbox.wait_seconds:1:2|d|@0.1|#env:test")
