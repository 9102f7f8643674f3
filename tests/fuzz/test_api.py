"""What `/openapi.json` promises is what a gateway does, whoever asks for whatever."""

from pathlib import Path

import pytest

from tests.fuzz.api import KEYS, bad_lines, keyed_gateway, run

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SECONDS = 60
FEWEST = 100


@pytest.mark.parametrize("key", KEYS)
def test_the_description_is_kept_whatever_is_asked(key: str, tmp_path: Path) -> None:
    with keyed_gateway(tmp_path) as gateway:
        report = run(gateway, KEYS[key], seconds=SECONDS, directory=tmp_path)
        alive = gateway.client.get("/health/live").status_code
        lines = bad_lines(gateway)

    assert (report["failures"], report["errors"]) == ([], []), report["text"]
    assert report["status"] == 0, report["text"]
    assert report["operations"]["selected"] == report["operations"]["total"] > 20
    assert report["test_cases"]["generated"] >= FEWEST
    assert (alive, lines) == (200, [])
