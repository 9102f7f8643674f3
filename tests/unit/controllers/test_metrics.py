"""Who wants the metrics compressed."""

import pytest

from app.controllers.metrics import takes_gzip


@pytest.mark.parametrize(
    ("accepted", "taken"),
    [
        ("gzip", True),
        ("GZIP, deflate, br", True),
        ("deflate, gzip;q=0.5", True),
        ("gzip;q=1.0, identity;q=0", True),
        ("gzip; q=0.001", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000, br", False),
        ("br", False),
        ("x-gzip-not", False),
        ("", False),
        (";;,=", False),
        ("gzip;level=9", True),
    ],
)
def test_only_who_names_gzip_gets_it(*, accepted: str, taken: bool) -> None:
    assert takes_gzip(accepted) is taken
