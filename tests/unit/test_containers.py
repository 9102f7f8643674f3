"""What the container files promise, read from them: no engine is needed."""

import re
import shlex
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.settings import ServerSettings, load

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker" / "compose.yaml"
EXACT = re.compile(r"[a-z0-9./-]+:v?\d+\.\d+\.\d+[a-z0-9.-]*").fullmatch
MONITORING = {"prometheus": 9090, "alertmanager": 9093, "grafana": 3000}
AFTER_THE_DRAIN_SECONDS = 10


def instructions() -> list[tuple[str, str]]:
    """Word and rest of every instruction, continued lines joined."""
    text = (ROOT / "docker" / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def stages() -> list[dict[str, list[str]]]:
    found: list[dict[str, list[str]]] = []
    for word, rest in instructions():
        if word == "FROM":
            found.append({})
        found[-1].setdefault(word, []).append(rest)
    return found


@pytest.fixture
def builder() -> dict[str, list[str]]:
    return stages()[0]


@pytest.fixture
def final() -> dict[str, list[str]]:
    return stages()[-1]


@pytest.fixture
def services() -> dict[str, Any]:
    return msgspec.yaml.decode(COMPOSE.read_bytes())["services"]


def test_every_stage_starts_from_an_exact_tag() -> None:
    bases = [each["FROM"][0].split()[0] for each in stages()]

    assert len(bases) == 2
    assert all(EXACT(base) for base in bases)


def test_both_stages_have_the_same_python(builder: dict[str, list[str]], final: dict[str, list[str]]) -> None:
    assert builder["FROM"][0].split()[0] == final["FROM"][0]


def test_dependencies_are_installed_from_the_lock_with_hashes(builder: dict[str, list[str]]) -> None:
    (install,) = [msgspec.json.decode(each) for each in builder["RUN"] if "requirements/lock" in each]

    assert install[1:] == ["install", "--require-hashes", "--requirement", "requirements/lock"]
    assert builder["ARG"] == ["LOCK=run"]
    assert "requirements/${LOCK}.lock requirements/lock" in builder["COPY"]


def test_the_project_is_installed_whole_and_brings_nothing_along(builder: dict[str, list[str]]) -> None:
    (install,) = [msgspec.json.decode(each) for each in builder["RUN"] if "--no-deps" in each]

    assert {"--no-deps", "--no-build-isolation", "--no-index"} < set(install)
    assert install[-1] == "."
    assert not {"-e", "--editable"} & set(install)


def test_pip_keeps_no_cache(builder: dict[str, list[str]]) -> None:
    assert "PIP_NO_CACHE_DIR=1" in shlex.split(builder["ENV"][0])


def test_only_the_environment_is_taken_over(final: dict[str, list[str]]) -> None:
    assert final["COPY"] == ["--from=builder /opt/signalbox /opt/signalbox"]


def test_it_runs_as_nobody_in_particular(final: dict[str, list[str]]) -> None:
    assert final["USER"] == ["10001:10001"]


def test_it_starts_without_a_shell(final: dict[str, list[str]]) -> None:
    assert msgspec.json.decode(final["ENTRYPOINT"][0]) == ["signalbox"]
    assert msgspec.json.decode(final["CMD"][0]) == ["serve"]


def test_its_health_is_asked_by_the_command_line(final: dict[str, list[str]]) -> None:
    _, command = final["HEALTHCHECK"][0].split(" CMD ")

    assert msgspec.json.decode(command) == ["signalbox", "healthcheck"]


def test_it_listens_beyond_the_container_on_the_port_it_exposes(final: dict[str, list[str]]) -> None:
    variables = dict(each.split("=", 1) for line in final["ENV"] for each in shlex.split(line) if "SIGNALBOX" in each)

    server = load(None, variables).settings.server

    assert server.host == "0.0.0.0"  # noqa: S104 - the point of it
    assert final["EXPOSE"] == [str(server.port)]


def test_it_says_what_it_is(final: dict[str, list[str]]) -> None:
    prefix = "org.opencontainers.image."
    labels = dict(each.split("=", 1) for each in shlex.split(final["LABEL"][0]))

    assert labels[f"{prefix}licenses"] == "Apache-2.0"
    assert labels[f"{prefix}base.name"].endswith(final["FROM"][0])
    assert labels.keys() >= {prefix + name for name in ("title", "description", "version", "revision")}


def test_what_is_copied_is_all_the_build_is_sent(builder: dict[str, list[str]]) -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    copied = {source for each in builder["COPY"] for source in each.split()[:-1]}

    assert ignored[0] == "*"
    sent = {each.removeprefix("!") for each in ignored if each.startswith("!")}
    assert sent == {each.replace("${LOCK}", "*") for each in copied}
    assert all(list(ROOT.glob(each)) for each in sent)


def test_compose_does_not_start_without_a_key(services: dict[str, Any]) -> None:
    assert services["gateway"]["environment"]["SIGNALBOX_API_KEYS"].startswith("${SIGNALBOX_API_KEYS:?")


def test_compose_builds_from_the_root(services: dict[str, Any]) -> None:
    build = services["gateway"]["build"]

    assert (COMPOSE.parent / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).exists()


def test_compose_publishes_on_loopback_only(services: dict[str, Any]) -> None:
    ports = [port for each in services.values() for port in each.get("ports", [])]

    assert ports == [f"127.0.0.1:{port}:{port}" for port in (ServerSettings().port, *MONITORING.values())]


def test_compose_leaves_the_gateway_nothing_to_write_on_and_no_privileges(services: dict[str, Any]) -> None:
    gateway = services["gateway"]

    assert gateway["read_only"]
    assert gateway["cap_drop"] == ["ALL"]
    assert gateway["security_opt"] == ["no-new-privileges:true"]
    assert all(each.endswith(":ro") for each in gateway["volumes"])


def test_compose_waits_longer_than_the_drain(services: dict[str, Any]) -> None:
    grace = int(services["gateway"]["stop_grace_period"].removesuffix("s"))

    assert grace > ServerSettings().drain_seconds + ServerSettings().drain_delay_seconds + AFTER_THE_DRAIN_SECONDS


def test_compose_asks_whether_the_gateway_can_serve(services: dict[str, Any]) -> None:
    assert services["gateway"]["healthcheck"]["test"] == ["CMD", "signalbox", "healthcheck", "--ready"]
    assert services["redis"]["healthcheck"]["test"] == ["CMD", "redis-cli", "ping"]


def test_compose_takes_redis_by_an_exact_tag_for_the_cache(services: dict[str, Any]) -> None:
    gateway = services["gateway"]

    url = load(None, {"REDIS_URL": gateway["environment"]["REDIS_URL"]}).settings.cache.url

    assert EXACT(services["redis"]["image"])
    assert url == "redis://redis:6379/0"
    assert gateway["depends_on"] == ["redis"]


@pytest.mark.parametrize("name", MONITORING)
def test_compose_starts_the_monitoring_only_when_asked_to(services: dict[str, Any], name: str) -> None:
    service = services[name]

    assert service["profiles"] == ["monitoring"]
    assert EXACT(service["image"])
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not [each for each in ("gateway", "redis") if services[each].get("profiles")]


@pytest.mark.parametrize("name", MONITORING)
def test_what_compose_mounts_for_the_monitoring_is_there(services: dict[str, Any], name: str) -> None:
    mounts = [each.split(":") for each in services[name]["volumes"]]

    shipped = [mount for mount in mounts if mount[0].startswith("./")]
    kept = {mount[0] for mount in mounts} - {mount[0] for mount in shipped}
    assert shipped
    assert all((COMPOSE.parent / mount[0]).is_dir() and mount[2] == "ro" for mount in shipped)
    assert kept <= set(msgspec.yaml.decode(COMPOSE.read_bytes())["volumes"])
    for file in re.findall(r"--config.file=(\S+)", " ".join(services[name].get("command", []))):
        (source,) = [mount[0] for mount in shipped if mount[1] == str(Path(file).parent)]
        assert (COMPOSE.parent / source / Path(file).name).exists()


def test_compose_lets_nobody_into_grafana_by_a_default_password(services: dict[str, Any]) -> None:
    secrets = msgspec.yaml.decode(COMPOSE.read_bytes())["secrets"]
    environment = services["grafana"]["environment"]

    # without the variable compose refuses to make the container
    assert secrets["grafana_password"] == {"environment": "GRAFANA_PASSWORD"}
    assert services["grafana"]["secrets"] == ["grafana_password"]
    assert environment["GF_SECURITY_ADMIN_PASSWORD__FILE"] == "/run/secrets/grafana_password"  # noqa: S105 - a path
    assert "GF_SECURITY_ADMIN_PASSWORD" not in environment
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == environment["GF_USERS_ALLOW_SIGN_UP"] == "false"


def test_prometheus_gets_the_key_that_opens_the_metrics(services: dict[str, Any]) -> None:
    config = msgspec.yaml.decode((COMPOSE.parent / "prometheus" / "prometheus.yml").read_bytes())
    (job,) = config["scrape_configs"]
    variables = {"SIGNALBOX__METRICS__KEY": "m-1234"}

    secret = msgspec.yaml.decode(COMPOSE.read_bytes())["secrets"]["metrics_key"]["environment"]
    assert services["gateway"]["environment"]["SIGNALBOX__METRICS__KEY"] == f"${{{secret}:-}}"
    assert load(None, variables).settings.metrics.key == "m-1234"
    assert job["authorization"] == {"credentials_file": "/run/secrets/metrics_key"}
    assert services["prometheus"]["secrets"] == ["metrics_key"]
    assert not services["prometheus"].get("read_only")


def test_prometheus_knows_the_others_by_their_names_in_compose(services: dict[str, Any]) -> None:
    config = msgspec.yaml.decode((COMPOSE.parent / "prometheus" / "prometheus.yml").read_bytes())

    targets = [each["static_configs"][0]["targets"] for each in config["scrape_configs"]]
    (alertmanager,) = config["alerting"]["alertmanagers"]
    assert targets == [[f"gateway:{ServerSettings().port}"]]
    assert alertmanager["static_configs"] == [{"targets": [f"alertmanager:{MONITORING['alertmanager']}"]}]
    assert {"gateway", "alertmanager"} < set(services)


def test_without_a_metrics_key_the_empty_one_opens_nothing() -> None:
    assert not load(None, {"SIGNALBOX__METRICS__KEY": ""}).settings.metrics.key
