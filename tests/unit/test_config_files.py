"""The shipped configuration: says everything, decides nothing."""

from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from app.settings import CacheSettings, CheckSettings, KeySettings, ProviderSettings, Secret, Settings, load
from app.settings.schema import schema
from tests.unit.settings_tree import settings_of

CONFIG = Path(__file__).parents[2] / "config"
SHIPPED = CONFIG / "signalbox.yaml"
SCHEMA = CONFIG / "signalbox.schema.json"
ENVIRON = {"EXAMPLE_KEY": "k-1234"}


def uncommented() -> str:
    """As an editor leaves it that takes one `# ` from each line; prose has two of them."""
    return "\n".join(line.removeprefix("# ") for line in SHIPPED.read_text().splitlines()[1:])


@pytest.fixture
def everything(tmp_path: Path) -> Settings:
    file = tmp_path / "signalbox.yaml"
    file.write_text(uncommented())
    return load(file, ENVIRON).settings


def test_the_schema_is_the_one_the_types_make() -> None:
    assert SCHEMA.read_text() == schema() + "\n"


def test_the_schema_itself_is_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(msgspec.json.decode(SCHEMA.read_bytes()))


def test_the_shipped_file_names_its_schema() -> None:
    first = SHIPPED.read_text().splitlines()[0]

    assert first == f"# yaml-language-server: $schema={SCHEMA.name}"


def test_the_shipped_file_decides_nothing() -> None:
    assert msgspec.yaml.decode(SHIPPED.read_bytes()) is None
    assert load(SHIPPED, {}).settings == load(None, {}).settings


def test_the_shipped_file_mentions_every_setting() -> None:
    tree = msgspec.yaml.decode(uncommented())

    mentioned = {path for path, _ in settings_of("example") if _is_in(tree, path.replace("routes.example", "routes"))}

    assert mentioned == {path for path, _ in settings_of("example")}


def test_uncommented_it_loads_and_states_the_defaults(everything: Settings) -> None:
    rows = {"keys", "providers", "routes"}
    unadorned = msgspec.structs.replace(everything.health, checks={})

    stated = {each.name: getattr(everything, each.name) for each in msgspec.structs.fields(Settings)}
    stated["health"] = unadorned

    assert {name: value for name, value in stated.items() if name not in rows} == {
        name: getattr(Settings(), name) for name in stated if name not in rows
    }


def test_its_example_rows_state_the_defaults_too(everything: Settings) -> None:
    row = everything.providers["example"]

    assert row == ProviderSettings(base_url=row.base_url)
    check = everything.health.checks["example"]
    assert check == CheckSettings(url=check.url)
    assert everything.keys == {"example": KeySettings(key=Secret("k-1234"))}
    assert everything.cache == CacheSettings()


def test_uncommented_it_is_valid_by_the_schema() -> None:
    made = msgspec.json.decode(SCHEMA.read_bytes())

    jsonschema.Draft202012Validator(made).validate(msgspec.yaml.decode(uncommented()))


@pytest.mark.parametrize("wrong", [{"cache": {"ttl": 60}}, {"server": {"port": 70000}}, {"log": {"level": "loud"}}])
def test_the_schema_refuses_what_the_loader_refuses(wrong: dict[str, Any]) -> None:
    made = msgspec.json.decode(SCHEMA.read_bytes())

    assert not jsonschema.Draft202012Validator(made).is_valid(wrong)


def _is_in(tree: Any, path: str) -> bool:
    for name in path.split("."):
        if not isinstance(tree, dict) or name not in tree:
            return False
        tree = tree[name]
    return True
