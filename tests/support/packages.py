"""Packages of a test's own that other processes find installed."""

from collections.abc import Mapping
from pathlib import Path

from tests.support.processes import ROOT


def installed(directory: Path, module: str, source: str, *, group: str, names: Mapping[str, str]) -> dict[str, str]:
    """A module with entry points (name to function), and the environment in which Python finds it."""
    packages = directory / "packages"
    information = packages / f"{module}-1.0.dist-info"
    information.mkdir(parents=True)
    (packages / f"{module}.py").write_text(source)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    points = "".join(f"{name} = {module}:{function}\n" for name, function in names.items())
    (information / "entry_points.txt").write_text(f"[{group}]\n{points}")
    return {"PYTHONPATH": f"{ROOT}:{packages}"}
