"""The file of the configuration: what is wrong with it is named with its line, and nothing in it is taken on trust."""

from itertools import pairwise
from pathlib import Path

import pytest

from app.settings import ConfigError, load

BOMB = "\n".join(
    ["a: &a [x]", *(f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]" for before, name in pairwise("abcdefg"))]
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "signalbox.yaml"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("server:\n  port: 1\n  port: 2\n", "server.port: is there twice, first in line 2 (from {file}:3)"),
        ("keys:\n  a: {key: x}\nkeys:\n  b: {key: y}\n", "keys: is there twice, first in line 1 (from {file}:3)"),
        ("server:\n  port: [1\nlog: x", "{file}:3: is not YAML: did not find expected"),
        ("server:\n  prot: 1\n", "server.prot: is not a setting; did you mean port? (from {file}:2)"),
        ("server:\n  port: high\n", "server.port: must be a whole number, and is a text (from {file}:2)"),
        ("providers:\n  x:\n    base_url: ftp://x\n", "providers.x.base_url: must be an http:// or https:// address"),
        ("providers:\n  x:\n    base_url: ftp://x\n", "(from {file}:3)"),
        ("providers:\n  x:\n    api_key: ${NOPE}\n", "(from providers.x.api_key, line 3)"),
        ("routes:\n  gpt-4.1: [nobody:x]\n", "(from {file}:2)"),
        (BOMB, "holds too many values, its aliases written out"),
        ("a: &a [*a]\n", "holds too many values, its aliases written out"),
        (f"a: {'[' * 900}{']' * 900}", "holds too many values, its aliases written out"),
        ("a: \0\n", "is not YAML"),
        ("a: !!python/object:os.system x\n", "is not YAML"),
        ("# \n" * 400_000, "is larger than 1024 KiB"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(file: Path, text: str, said: str) -> None:
    file.write_text(text)

    with pytest.raises(ConfigError) as raised:
        load(file, {})

    assert said.format(file=file) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_bytes_that_are_no_text_are_no_configuration(file: Path) -> None:
    file.write_bytes(bytes(range(256)))

    with pytest.raises(ConfigError, match="byte 128 is not UTF-8"):
        load(file, {})


def test_what_the_environment_says_has_no_line_of_the_file(file: Path) -> None:
    file.write_text("server:\n  port: 1\n")

    with pytest.raises(ConfigError) as raised:
        load(file, {"SIGNALBOX__SERVER__PORT": "high"})

    assert str(raised.value).endswith("(from environment SIGNALBOX__SERVER__PORT)")


@pytest.mark.parametrize(
    ("mode", "key", "told"), [(0o644, "k-1", True), (0o640, "k-1", False), (0o644, "${KEY}", False)]
)
def test_secrets_that_everybody_may_read_are_told_of(file: Path, mode: int, key: str, *, told: bool) -> None:
    file.write_text(f"keys:\n  me:\n    key: {key}\n")
    file.chmod(mode)

    notices = load(file, {"KEY": "k-2"}).notices

    assert (notices == [f"everybody on this machine can read {file}, and secrets stand in it: keys.me.key"]) is told
    assert not any("k-1" in notice for notice in notices)


@pytest.mark.parametrize(("text", "blank"), [("", True), ("\n \n", True), ("# only this\n", False), ("{}", False)])
def test_an_empty_file_is_told_from_one_that_decides_nothing(file: Path, text: str, *, blank: bool) -> None:
    file.write_text(text)

    contents = load(file, {}).contents

    assert contents is not None
    assert contents.blank is blank
