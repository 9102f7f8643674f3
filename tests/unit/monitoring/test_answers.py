"""What HTTP answers leave in the metrics."""

import pytest

from app.domain.passage import PHASES, Passage
from tests.support.metrics import made, outcome, passage, value


def test_an_answer_is_counted_by_its_template_and_an_invented_method_by_none() -> None:
    metrics = made()

    metrics.answers.passed(passage(method="GET", route="/health"))
    metrics.answers.passed(passage(method="BREW", route="/health", status=405, word="method_not_allowed"))

    assert value(metrics, "http_requests_total", method="GET", route="/health", status="200") == 1
    assert value(metrics, "http_requests_total", method="other", route="/health", status="405") == 1
    assert value(metrics, "llm_request_errors_total", error_type="method_not_allowed") == 1


def test_the_phases_of_a_call_add_up_to_its_time() -> None:
    metrics = made()

    metrics.answers.passed(passage())

    sums = [value(metrics, "llm_overhead_seconds_sum", phase=phase) for phase in PHASES]
    assert [round(each or 0, 6) for each in sums] == [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.2, 0.1, 0.1]
    total = value(metrics, "http_request_duration_seconds_sum", method="POST", route="/v1/chat/completions")
    assert total == pytest.approx(sum(each or 0 for each in sums)) == pytest.approx(1.0)


def test_an_answer_of_another_route_has_no_phases() -> None:
    metrics = made()

    metrics.answers.passed(Passage(10.0, 10.1, "/health", "GET", finished=10.5, status=200, bytes_out=300))

    assert value(metrics, "llm_overhead_seconds_count", phase="queue") == 0
    assert value(metrics, "http_request_duration_seconds_sum", method="GET", route="/health") == 0.5
    assert value(metrics, "http_response_size_bytes_sum", route="/health") == 300


def test_a_caller_who_left_is_counted_beside_the_status_it_was_sent() -> None:
    metrics = made()

    metrics.answers.passed(passage(left=True, outcome=outcome(chunks=3, chunk_bytes=90), bytes_in=12))

    route = "/v1/chat/completions"
    assert value(metrics, "http_client_disconnects_total", route=route) == 1
    assert value(metrics, "http_requests_total", method="POST", route=route, status="200") == 1
    assert value(metrics, "http_request_size_bytes_sum", route=route) == 12
    assert value(metrics, "http_response_size_bytes_sum", route=route) == 90
