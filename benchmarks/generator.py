"""The mock upstream and the load generator: compiling them, and what a run of them says."""

import http.client
import shutil
import subprocess
from contextlib import closing
from pathlib import Path

import msgspec

from benchmarks.endpoint import Endpoint
from benchmarks.loads import Load
from benchmarks.processes import Cores

SOURCES = Path(__file__).parent
PATIENCE_SECONDS = 30.0
MOST_A_SECOND = 200_000
"""More questions than the generator can ask; so many numbers are put aside for it."""


class Counted(msgspec.Struct):
    """The generator's one line: microseconds and counts; rates and percentiles are of the measured part only."""

    n: int
    rps: float
    p50: float
    p99: float
    ttfb50: float
    ttfb99: float
    ev_s: float
    non2xx: int
    errs: int
    short: int
    open: int
    tot: int
    totev: int

    @property
    def errors(self) -> int:
        return self.non2xx + self.errs + self.short


class Span(msgspec.Struct, frozen=True):
    """For how long a load lasts; the warm-up counts for processor time alone."""

    warm: float
    seconds: float


class CannotMeasureError(Exception):
    """Something without which there is no benchmark is not there."""


def compiler() -> str | None:
    return next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)


def compiled(name: str, directory: Path) -> str:
    """The program; a second's work, so it is built for every run."""
    source, program = SOURCES / f"{name}.c", directory / name
    if (found := compiler()) is None:
        raise CannotMeasureError("no C compiler: install gcc or clang")
    built = subprocess.run([found, "-O2", "-Wall", "-o", program, source], capture_output=True, text=True, check=False)
    if built.returncode:
        raise CannotMeasureError(f"{source.name} does not compile: {built.stderr[-500:]}")
    return str(program)


class Generator:
    """Puts loads on endpoints from the load's core."""

    def __init__(self, directory: Path, cores: Cores, mock_port: int) -> None:
        self._program = compiled("lg", directory)
        self._directory = directory
        self._cores = cores
        self._mock_port = mock_port

    def upstream_calls(self) -> int:
        """How many questions have reached the mock so far."""
        with closing(http.client.HTTPConnection("127.0.0.1", self._mock_port, timeout=PATIENCE_SECONDS)) as mock:
            mock.request("GET", "/count")
            return int(mock.getresponse().read())

    def run(self, endpoint: Endpoint, load: Load, span: Span, events: int = 0) -> Counted:
        """The load until its time is over; an answer of fewer than `events` events counts as an error."""
        return self.finish(endpoint, load, span, self.begin(endpoint, load, span, events))

    def begin(self, endpoint: Endpoint, load: Load, span: Span, events: int = 0) -> subprocess.Popen[bytes]:
        body = self._directory / f"body-{endpoint.port}-{load.name}.json"
        body.write_bytes(endpoint.body(load))
        command = [self._program, "-p", str(endpoint.port), "-u", endpoint.plan.path, "-b", str(body)]
        command += ["-c", str(load.connections), "-w", str(span.warm), "-d", str(span.seconds), "-e", str(events)]
        for name, value in endpoint.plan.headers.items():
            command += ["-H", f"{name}: {value}"]
        if load.rate:
            command += ["-r", str(load.rate)]
        if load.requests:
            command += ["-n", str(load.requests)]
        if not load.hits:
            count = load.requests or int((span.warm + span.seconds) * MOST_A_SECOND)
            command += ["-x", "-s", str(endpoint.fresh(count + load.connections) - 1)]
        return subprocess.Popen(self._cores.on(self._cores.load, command), stdout=subprocess.PIPE)

    def finish(self, endpoint: Endpoint, load: Load, span: Span, process: subprocess.Popen[bytes]) -> Counted:
        try:
            output, _ = process.communicate(timeout=span.warm + span.seconds + PATIENCE_SECONDS)
        except BaseException:
            process.kill()
            process.wait()
            raise
        if process.returncode:
            raise CannotMeasureError(f"the load generator failed on {endpoint.name} with {load.name}")
        return msgspec.json.decode(output, type=Counted)
