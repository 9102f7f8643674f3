"""How the metrics leave: compressed, or not at all."""

import gzip
import re

from app.cache.base import CacheSize
from app.domain.errors import Failure
from app.monitoring.metrics import Metrics
from tests.support.metrics import made, outcome


def samples(text: bytes) -> set[bytes]:
    """What is shown, without the values."""
    return set(re.findall(rb"^((?:llm|http|model)_\S+)", text, re.MULTILINE))


async def test_what_is_compressed_says_the_same() -> None:
    metrics = made()
    for number in range(20):
        metrics.calls.settled(outcome(provider=f"p{number}"))

    plain, _ = await metrics.scrape("")
    packed, content_type = await metrics.scrape("", gzip=True)

    assert content_type.startswith("text/plain")
    assert len(packed) * 4 < len(plain)
    assert samples(gzip.decompress(packed)) == samples(plain)


def test_what_does_not_count_stays_as_it_is() -> None:
    metrics = Metrics(cache=CacheSize, version="1", counting=False)
    before = samples(metrics.render("")[0])

    providers = metrics.providers
    providers.moved("", "one", "m")
    providers.attempted("one", 1.0, Failure.INTERNAL)
    providers.stream_broke("one", Failure.INTERNAL)
    providers.chosen("one", "route")
    providers.retried("one", Failure.INTERNAL)
    providers.left("one", Failure.INTERNAL)

    assert samples(metrics.render("")[0]) == before
