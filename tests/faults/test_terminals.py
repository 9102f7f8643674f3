"""What a terminal does to what was started on it."""

import os
import signal
import time
from pathlib import Path

from tests.faults.test_lifecycle import draining
from tests.support.processes import PATIENCE_SECONDS, ProviderProcess, event, gateway_process, stream
from tests.support.provider_faults import DONE, GATE, eventually

FIRST, LAST = event("first"), event("last", "stop")


def test_P_07_a_terminal_that_closes(directory: Path, provider: ProviderProcess, model: str) -> None:
    """A gateway was started on a terminal, which closes while a stream runs: the shell sends SIGHUP, then the kernel.

    Happens: it stops as on SIGTERM: the stream goes on to its end, and neither SIGHUP is taken for a second signal.

    Seen: exit status 0; the log line of the stop says `calls_cut` false.
    """
    provider.script(model, stream(FIRST, GATE, LAST, DONE))
    config = {"providers": {"one": {"base_url": provider.base_url("one")}}, "server": {"drain_seconds": 60}}
    ours, its = os.openpty()
    with gateway_process(directory, config, stdin=its) as gateway:
        os.close(its)
        question = {"model": f"one/{model}", "messages": [], "stream": True}
        with gateway.client.stream("POST", "/v1/chat/completions", json=question) as running:
            pieces = running.iter_raw()
            said = next(pieces)
            os.close(ours)
            gateway.process.send_signal(signal.SIGHUP)
            eventually(lambda: draining(gateway), "it drains")
            gateway.process.send_signal(signal.SIGHUP)
            for _ in range(10):  # who is cut is gone after the next look, a tenth of a second later
                time.sleep(0.05)
                assert draining(gateway)
            provider.open(model)
            said += b"".join(pieces)
        ended = gateway.process.wait(PATIENCE_SECONDS)

    assert said == FIRST + LAST + DONE
    assert ended == 0
    assert [line["calls_cut"] for line in gateway.log() if line["event"] == "stopped"] == [False]
