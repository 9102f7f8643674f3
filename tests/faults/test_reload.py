"""A configuration that changes under a running gateway: taken as a whole between two requests, or not at all."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import (
    GatewayProcess,
    ProviderProcess,
    gateway_process,
)
from tests.support.provider_faults import eventually
from tests.support.reloading import Reloading, without_watch

NOT_TAKEN = "configuration not taken; the one before goes on"


def row(provider: ProviderProcess, name: str, **fields: Any) -> dict[str, Any]:
    return {name: {"base_url": provider.base_url(name)} | fields}


@pytest.fixture(scope="module")
def running(provider: ProviderProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reloading]:
    directory = tmp_path_factory.mktemp("reloaded")
    config = without_watch({"providers": row(provider, "one")})
    with gateway_process(directory, config) as gateway:
        yield Reloading(gateway, directory, config)


def faulty(name: str, directory: Path, url: str) -> bytes | None:
    """A configuration that cannot be taken; lines are counted from 1."""
    good = f"providers:\n  one:\n    base_url: {url}\n"
    garbage = directory / "garbage.pem"
    garbage.write_text("no certificate")
    made = {
        "syntax": f"{good}    api_key: [\n",
        "unknown": f"{good}    bse_url: x\n",
        "variable": f"{good}    api_key: ${{NOT_SET_ANYWHERE}}\n",
        "twice": f"{good}  one:\n    base_url: {url}\n",
        "url": "providers:\n  one:\n    base_url: one.example/v1\n",
        "empty": "",
        "large": "#" * 100_000_000,
        "partial": f"{good}routes:\n  smart: [one:mo",
        "unbuildable": f"providers:\n  one:\n    base_url: https://127.0.0.1:1\n    ca_file: {garbage}\n",
        "binary": None,
        "absent": None,
    }[name]
    if name == "absent":
        return None
    return bytes(range(256)) if made is None else made.encode()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("syntax", "signalbox.yaml:5: is not YAML"),
        ("unknown", "providers.one.bse_url: is not a setting; did you mean base_url?"),
        ("variable", "${NOT_SET_ANYWHERE}: names a variable that is not set (from providers.one.api_key, line 4)"),
        ("twice", "providers.one: is there twice, first in line 2"),
        ("url", "signalbox.yaml:3"),
        ("empty", "is empty, as a file is that is just being written"),
        ("large", "is larger than 1024 KiB"),
        ("partial", "is not YAML"),
        ("unbuildable", "SSLError"),
        ("binary", "is not UTF-8"),
        ("absent", "cannot be read"),
    ],
)
def test_P_01_a_configuration_that_cannot_be(running: Reloading, model: str, fault: str, said: str) -> None:
    """The file is replaced by a faulty one (syntax, unknown field, missing variable, a name twice, bad address, empty,
    binary, 100 MB, cut off in mid-write, gone, certificates that are none), then by the good one again.

    Happens: what ran goes on with all its calls; the next good one is taken.

    Seen: a log line with path, line and reason; `llm_config_last_reload_successful` 0 until the next good one,
    `llm_config_reloads_total{result="refused"}`; the health check `configuration` is degraded with the reason.
    """
    gateway = running.gateway
    url = running.config["providers"]["one"]["base_url"]
    logged = len(running.lines(NOT_TAKEN))

    assert running.take(faulty(fault, running.file.parent, url)) == "refused"

    assert gateway.metric("llm_config_last_reload_successful") == 0
    assert said in running.reason()
    *_, line = running.lines(NOT_TAKEN)
    assert said in line["reason"]
    assert len(running.lines(NOT_TAKEN)) == logged + 1
    assert gateway.chat(f"one/{model}").status_code == 200
    assert gateway.client.get("/health").status_code == 200
    assert running.take(running.config) == "unchanged"
    assert gateway.metric("llm_config_last_reload_successful") == 1
    eventually(running.is_healthy, "health is well again")


def test_P_01_a_link_that_leads_elsewhere(directory: Path, provider: ProviderProcess, model: str) -> None:
    """Nobody sends a signal: the file is a link through `..data`, as Kubernetes mounts a ConfigMap, and `..data` is
    made to lead to another directory, first with a faulty file, then with a good one.

    Happens: each is noticed within seconds; the faulty one changes nothing, the good one is taken.

    Seen: the log line names the change of the file; `llm_config_reloads_total` counts one refused and one applied.
    """
    mount = directory / "mount"
    mount.mkdir()

    def lead_to(name: str, text: str) -> None:
        (mount / name).mkdir()
        (mount / name / "signalbox.yaml").write_text(text)
        (mount / "..tmp").symlink_to(name)
        (mount / "..tmp").replace(mount / "..data")

    def configured(name: str) -> str:
        return f"providers:\n  {name}:\n    base_url: {provider.base_url(name)}\n"

    lead_to("..first", configured("one"))
    (mount / "signalbox.yaml").symlink_to("..data/signalbox.yaml")
    arguments = ["--config", str(mount / "signalbox.yaml")]
    with gateway_process(directory, arguments=arguments) as gateway:
        it = Reloading(gateway, directory, {})
        assert gateway.chat(f"one/{model}").status_code == 200
        lead_to("..second", "providers: [")
        eventually(lambda: it.results()["refused"] == 1, "the faulty one is noticed")
        assert gateway.chat(f"one/{model}", seed=1).status_code == 200
        lead_to("..third", configured("two"))
        eventually(lambda: it.results()["applied"] == 1, "the good one is noticed")

        assert gateway.chat(f"two/{model}", seed=2).status_code == 200
        assert gateway.chat(f"one/{model}", seed=2).status_code == 404
        (line,) = it.lines("configuration taken")
        assert line["asked_by"] == "a change of the file"
        assert line["changed"] == ["providers.one", "providers.two"]


def test_P_03_several_processes_tell_whether_they_agree(directory: Path, provider: ProviderProcess) -> None:
    """Two processes have the same settings with different secrets; one is given another route.

    Happens: each takes what it reads by itself.

    Seen: the label `hash` of `llm_config_info` is the same for the same settings, whatever the secrets, and another for
    others; no secret can be found by it.
    """

    def config(key: str, **more: Any) -> dict[str, Any]:
        return without_watch({"providers": row(provider, "one", api_key=key)} | more)

    def hash_of(gateway: GatewayProcess) -> str:
        found: list[str] = []

        def told() -> bool:
            lines = gateway.client.get("/metrics").text.splitlines()
            found[:] = [each.split('"')[1] for each in lines if each.startswith("llm_config_info")]
            return bool(found[0])

        eventually(told, "there is a hash")
        return found[0]

    with (
        gateway_process(directory / "a", config("sk-aaaaaa"), environ={"SIGNALBOX__SERVER__PORT": "0"}) as first,
        gateway_process(directory / "b", config("sk-bbbbbb"), environ={"SIGNALBOX__SERVER__PORT": "0"}) as second,
    ):
        same = hash_of(first)
        assert hash_of(second) == same
        it = Reloading(second, directory / "b", {})
        it.take(config("sk-bbbbbb", routes={"r": ["one:m"]}))

        assert hash_of(second) not in {same, ""}
        assert json.dumps(second.log()).count("sk-") == 0


@pytest.mark.parametrize(("mode", "told"), [(0o644, True), (0o600, False)])
def test_P_05_secrets_in_a_file_that_everybody_may_read(
    directory: Path, provider: ProviderProcess, mode: int, *, told: bool
) -> None:
    """The configuration file holds a key and is readable by everybody on the machine, or by its owner alone.

    Happens: it starts; secrets belong in the environment or in a file of their own.

    Seen: a note at the start and a warning in the log name the setting, never its value.
    """
    file = directory / "own.yaml"
    file.write_text(f"providers:\n  one:\n    base_url: {provider.base_url('one')}\n    api_key: sk-secret-of-mine\n")
    file.chmod(mode)
    with gateway_process(directory, arguments=["--config", str(file)]) as gateway:
        said = f"everybody on this machine can read {file}, and secrets stand in it: providers.one.api_key"

        assert (said in gateway.banner) is told
        assert (said in gateway.log_text()) is told
        assert "sk-secret-of-mine" not in gateway.banner + gateway.log_text()
