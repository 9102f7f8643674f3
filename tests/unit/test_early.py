"""What runs before everything else."""

import subprocess
import sys

from tests.support.processes import ROOT


def test_nothing_heavy_is_imported_before_signals_are_heeded() -> None:
    code = "import sys; before = {*sys.modules}; import app.__main__; print(*({*sys.modules} - before))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    ours = {each for each in found.stdout.split() if each.startswith("app")}
    assert ours == {"app", "app.early", "app.__main__"}
    assert {each.partition(".")[0] for each in found.stdout.split()} <= {"app", *sys.stdlib_module_names}
