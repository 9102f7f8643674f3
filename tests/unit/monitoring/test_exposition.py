"""A family's text while its calls go on, and when they have ceased."""

import re

from app.monitoring.calls import CallMetrics
from app.monitoring.exposition import QUANTILES, FamilyWriter
from app.monitoring.tally import Tally
from app.monitoring.window import SLICE_SECONDS, SLICES
from tests.support.metrics import made, outcome

FAMILY = "model_inference_duration_seconds"


def quantiles(text: bytes, model: str) -> list[bytes]:
    return re.findall(rb'^%b\{model="%b",quantile="[\d.]+"\} (\S+)$' % (FAMILY.encode(), model.encode()), text, re.M)


def test_quantiles_of_a_model_that_nobody_asks_any_more_are_no_numbers() -> None:
    tally, now = Tally(), [0.0]
    calls = CallMetrics(tally, clock=lambda: now[0])
    writer = FamilyWriter(tally.families[FAMILY])
    calls.settled(outcome(public_model="idle"))
    early = b"".join(writer.pieces(open_metrics=False))

    now[0] = SLICES * SLICE_SECONDS
    calls.settled(outcome(public_model="busy"))
    late = b"".join(writer.pieces(open_metrics=False))

    assert all(float(each) > 0 for each in quantiles(early, "idle") + quantiles(late, "busy"))
    assert quantiles(late, "idle") == [b"NaN"] * len(QUANTILES)
    assert (calls.window.count, calls.failures.quantiles(0.95)) == (1, [0.0])


def test_quantiles_of_http_are_no_numbers_before_the_first_request() -> None:
    text = made().render("")[0]

    assert text.count(b'http_request_duration_seconds{quantile="0.95"} NaN\n') == 1


def test_a_model_may_be_called_for_the_first_time_between_two_pieces() -> None:
    metrics = made()
    metrics.calls.settled(outcome(public_model="m0"), outcome(public_model="m1"))
    pieces = []

    for number, piece in enumerate(FamilyWriter(metrics.tally.families[FAMILY]).pieces(open_metrics=False), 2):
        metrics.calls.settled(outcome(public_model=f"m{number}"))
        pieces.append(piece)

    text = b"".join(pieces)
    assert len(quantiles(text, "m0")) == len(quantiles(text, "m1")) == len(QUANTILES)
    assert b'quantile="0.99"} 0\n' not in text
