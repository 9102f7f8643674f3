"""What is installed and what is released: pinned, listed, built from the tree and from nothing else."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from scripts.audit import advisories, found_in
from scripts.locks import LOCKS, pins_of
from scripts.sbom import document
from tests.support.processes import PATIENCE_SECONDS, ROOT
from tests.support.tree import tracked

FLOORS = {
    "litestar": "2.25",
    "uvicorn": "0.54",
    "httptools": "0.7",
    "httpx": "0.28.1",
    "redis": "8.1",
    "prometheus-client": "0.26",
    "setuptools": "78.1.1",
}
RUN = ROOT / "requirements" / "run.lock"
MADE = {"PKG-INFO", "setup.cfg"}
BUILD = "import sys; from setuptools import build_meta as b; out = sys.argv[1]; b.build_sdist(out); b.build_wheel(out)"
IMPORTING = """
import importlib, pkgutil, sys

def blocked(event, arguments):
    if event.startswith(("socket.connect", "socket.getaddrinfo", "socket.gethost", "socket.sendto", "socket.bind",
                         "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork")):
        raise RuntimeError(f"{event} at import")

sys.addaudithook(blocked)
import app
from tests.support.tree import tracked
names = [each.name for each in pkgutil.walk_packages(app.__path__, "app.") if each.name != "app.__main__"]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


def run(directory: Path, *command: str, **environ: str) -> str:
    clean = {"PATH": os.environ["PATH"], "HOME": str(directory)} | environ
    done = subprocess.run(
        command, cwd=directory, env=clean, capture_output=True, text=True, timeout=6 * PATIENCE_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def built(directory: Path, names: list[str]) -> tuple[list[str], list[str], zipfile.ZipFile]:
    """The names in the sdist and in the wheel, made of a copy of the tree, and the wheel."""
    source, out = directory / "source", directory / "out"
    for name in names:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, source / name)
    out.mkdir()
    run(source, sys.executable, "-c", BUILD, str(out), SOURCE_DATE_EPOCH="1700000000")
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    with tarfile.open(sdist) as archive:
        in_sdist = sorted(each.name.partition("/")[2] for each in archive if each.isfile())
    archive = zipfile.ZipFile(wheel)
    return in_sdist, sorted(archive.namelist()), archive


def test_X_01_what_is_built_is_what_is_in_the_tree(tmp_path: Path) -> None:
    """The source archive and the wheel are built twice and compared with the repository.

    Happens: the same lists of files both times; the wheel is `app/` and its metadata, the archive holds nothing that is
    not in the tree; no `.pth`, nothing compiled, one command.
    Seen: nothing.
    """
    names = tracked()

    first, second = (built(tmp_path / each, names) for each in ("first", "second"))

    assert first[:2] == second[:2]
    in_sdist, in_wheel, wheel = first
    code = {each for each in in_wheel if ".dist-info/" not in each}
    meta = {each.partition(".dist-info/")[2] for each in in_wheel} - {""}
    assert code == {each for each in names if each.startswith("app/")}
    assert meta == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "top_level.txt", "licenses/LICENSE"}
    made = {each for each in in_sdist if each in MADE or each.startswith("signalbox.egg-info/")}
    assert {*in_sdist} - made <= {*names}
    assert code < {*in_sdist}
    assert not [each for each in (*in_sdist, *in_wheel) if each.endswith((".pth", ".so", ".pyd", ".pyc", ".c"))]
    (points,) = [wheel.read(each).decode() for each in in_wheel if each.endswith("entry_points.txt")]
    assert points.split() == ["[console_scripts]", "signalbox", "=", "app.__main__:main"]
    (kind,) = [wheel.read(each).decode() for each in in_wheel if each.endswith("/WHEEL")]
    assert "Tag: py3-none-any" in kind
    for name in code:
        assert wheel.read(name) == (ROOT / name).read_bytes()


def test_X_01_importing_it_asks_nobody(tmp_path: Path) -> None:
    """Every module is imported while sockets and other programs are forbidden.

    Happens: all can be imported; nothing is connected to, looked up, or started.
    Seen: nothing.
    """
    said = run(tmp_path, sys.executable, "-c", IMPORTING, PYTHONPATH=str(ROOT))

    assert int(said) > 100


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_X_02_every_line_of_a_lock_is_exact_and_has_hashes(lock: Path) -> None:
    """The lock files: any line without an exact version or without hashes, any address of its own.

    Happens: there is none; what all locks list is the same version in each.
    Seen: nothing.
    """
    pins = list(pins_of(lock))
    run_ = {pin.name: pin.version for pin in pins_of(RUN)}

    assert len(LOCKS) == 4
    assert len(pins) >= len(run_) > 20
    assert "://" not in lock.read_text()
    assert {pin.name: pin.version for pin in pins if pin.name in run_} == run_


def test_X_02_a_line_without_a_hash_is_found(tmp_path: Path) -> None:
    """A lock with a range, a line without hashes, an address, another index.

    Happens: each is an error of `make audit` and `make sbom`.
    Seen: the line.
    """
    good = f"idna==3.7 \\\n    --hash=sha256:{'a' * 64}\n"
    for line in ("idna>=3.7", "idna==3.7", "idna @ http://x", "--index-url http://x", f"{good}    --hash=md5:1"):
        (tmp_path / "x.lock").write_text(f"# a comment\n{good}{line}\n")
        with pytest.raises(ValueError, match=r"x\.lock: .* is no exact version"):
            list(pins_of(tmp_path / "x.lock"))


def test_X_02_nothing_is_installed_without_hashes() -> None:
    """Every line by which scripts, the image and CI install Python packages, and every action of a workflow.

    Happens: from a lock with `--require-hashes`, or the project itself without an index; npm by its lock file; actions
    by the digest of a commit.
    Seen: nothing.
    """
    places = [ROOT / "scripts" / "install", ROOT / "docker" / "Dockerfile", ROOT / ".ci" / "run", ROOT / "Makefile"]
    lines = [line for place in places for line in place.read_text().splitlines()]
    installing = [line for line in lines if re.search(r"""\bpip"?,? "?install\b""", line)]
    workflows = [each for each in tracked() if each.startswith(".github/workflows/")]
    used = [use for each in workflows for use in re.findall(r"uses:\s*(\S+)", (ROOT / each).read_text())]

    assert len(installing) == 4
    for line in installing:
        assert "--require-hashes" in line or {"--no-index", "--no-deps"} < {*re.split(r'[\s",]+', line)}, line
    assert "npm ci " in (ROOT / "scripts" / "prepare-tests").read_text()
    assert [use for use in used if not re.search(r"@[0-9a-f]{40}$", use)] == []


def test_X_03_what_is_younger_than_a_week_is_not_taken() -> None:
    """A dependency is published, and `make lock` is run on the same day.

    Happens: the release before it is taken.
    Seen: the lock files.
    """
    assert '--exclude-newer "7 days"' in (ROOT / "scripts" / "lock").read_text()


def test_X_05_no_lock_has_a_version_that_is_known_to_be_bad(tmp_path: Path) -> None:
    """The four lock files, and one with bad versions, held against `requirements/advisories.toml`.

    Happens: ours have none; `make audit`, which `make check` runs, fails with a sentence for each of the others.
    Seen: the sentence: file, package, version, advisory, why.
    """
    bad = {"h11": "0.14.0", "Redis": "4.5.3", "protobuf": "5.29.4", "litestar": "2.21.1", "litellm": "1.82.8"}
    good = {"idna": "3.20", "orjson": "3.9.15"}
    lock = tmp_path / "bad.lock"
    lock.write_text("".join(f"{name}=={pin} --hash=sha256:{'a' * 64}\n" for name, pin in (bad | good).items()))

    audited = subprocess.run(
        [sys.executable, "-m", "scripts.audit", str(lock)], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert list(found_in(LOCKS, advisories())) == []
    assert audited.returncode == 1
    named = [re.split(r"[: ]+", line)[1:3] for line in audited.stderr.splitlines()]
    assert named == [list(each) for each in bad.items()]
    assert "python -m scripts.audit" in (ROOT / "Makefile").read_text().partition("\ncheck:")[2].partition("\n\n")[0]


def test_X_05_what_we_ask_for_is_no_older_than_it_may_be() -> None:
    """`pyproject.toml`, which is what counts where no lock is used.

    Happens: the oldest version it allows of each dependency is one without a known vulnerability.
    Seen: nothing.
    """
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = [
        project["project"]["dependencies"],
        project["build-system"]["requires"],
        project["dependency-groups"]["build"],
    ]
    asked = [Requirement(each) for group in groups for each in group]
    oldest = {each.name: _oldest(each.specifier) for each in asked}

    assert {name: floor for name, floor in FLOORS.items() if oldest[name] < Version(floor)} == {}
    for known in advisories():
        if known.package in oldest:
            assert not any(each.contains(oldest[known.package]) for each in known.affected), known


def test_X_05_the_list_of_what_is_installed_is_the_lock() -> None:
    """`make sbom`.

    Happens: CycloneDX 1.5 with name, version, package URL and hashes of each line of the lock, always the same text.
    Seen: `build/sbom.json`.
    """
    made = json.loads(document(RUN))

    pins = list(pins_of(RUN))
    assert document(RUN) == document(RUN)
    assert (made["bomFormat"], made["specVersion"]) == ("CycloneDX", "1.5")
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", made["serialNumber"])
    assert [(each["name"], each["version"]) for each in made["components"]] == [(pin.name, pin.version) for pin in pins]
    assert all(each["purl"] == f"pkg:pypi/{each['name']}@{each['version']}" for each in made["components"])
    assert [[each["content"] for each in found["hashes"]] for found in made["components"]] == [
        pin.hashes for pin in pins
    ]
    assert {*made["dependencies"][0]["dependsOn"]} == {each["bom-ref"] for each in made["components"]}


def _oldest(asked: SpecifierSet) -> Version:
    return min(Version(each.version) for each in asked if each.operator in {">=", "=="})
