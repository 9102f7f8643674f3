"""Where values come from, who wins, and what is refused by name."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from app.settings import ConfigError, Loaded, effective, load


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    file = tmp_path / "empty.yaml"
    file.write_text("")
    return file


def from_file(tmp_path: Path, text: str, environ: Mapping[str, str] | None = None) -> Loaded:
    file = tmp_path / "signalbox.yaml"
    file.write_text(text)
    return load(file, environ or {})


def test_without_anything_the_demo_answers(empty: Path) -> None:
    loaded = load(empty, {})

    assert {name: row.kind for name, row in loaded.settings.providers.items()} == {"demo": "demo"}


def test_the_environment_has_the_last_word_and_our_own_names_the_very_last(tmp_path: Path) -> None:
    environ = {"CACHE_TTL": "20", "PORT": "1000", "SIGNALBOX__SERVER__PORT": "2000"}

    settings = from_file(tmp_path, "cache: {ttl_seconds: 10, max_bytes: 5}\nserver: {port: 1}", environ).settings

    assert (settings.cache.ttl_seconds, settings.cache.max_bytes, settings.server.port) == (20, 5, 2000)


def test_the_file_may_be_named_by_a_variable(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("server: {port: 7}")

    assert load(None, {"SIGNALBOX_CONFIG": str(tmp_path / "other.yaml")}).settings.server.port == 7


@pytest.mark.parametrize(
    ("text", "environ", "path"),
    [
        ("", {"SIGNALBOX__CACHE__TLL_SECONDS": "20"}, "cache.tll_seconds"),
        ("cash: {}", {}, "cash"),
        ("cache: {ttl_seconds: 0}", {}, "cache.ttl_seconds"),
        ("cache: {backend: disk}", {}, "cache.backend"),
        ("server: {port: http}", {}, "server.port"),
        ("providers: {a: {base_url: http://x/v1, timeouts: {conect: 1}}}", {}, "providers.a.timeouts.conect"),
        ("providers: {a: {}}", {}, "providers.a.base_url"),
        ("providers: {a: {base_url: ftp://x}}", {}, "providers.a.base_url"),
        ("providers: {a: {base_url: https://x, upstream: lean, proxy: http://p}}", {}, "providers.a.upstream"),
        ("providers: {a: {base_url: https://x, upstream: lean, http2: true}}", {}, "providers.a.upstream"),
        ("providers: {a: {base_url: http://x, http2: true}}", {}, "providers.a.http2"),
        ("providers: {a/b: {base_url: http://x}}", {}, "providers.a/b"),
        ("providers: {a.b: {base_url: http://x}}", {}, "providers.a.b"),
        ("providers: {a;b: {base_url: http://x}}", {}, "providers.a;b"),
        ("providers: {ä: {base_url: http://x}}", {}, "providers.ä"),
        ("providers: {'': {base_url: http://x}}", {}, "providers."),
        ("providers: {none: {base_url: http://x}}", {}, "providers.none"),
        ("providers: {other: {kind: demo}}", {}, "providers.other"),
        ("providers: {a: {base_url: http://x}, demo: {kind: demo}}", {}, "providers"),
        ("routes: {m: ['nowhere:x']}", {}, "routes.m"),
        ("routes: {m: [demo]}", {}, "routes.m"),
        ("routes: {m: []}", {}, "routes.m"),
        ("cache: {backend: redis}", {}, "cache.url"),
        ("cache: {url: http://x}", {}, "cache.url"),
        ("keys: {a: {key: 'two words'}}", {}, "keys.a.key"),
        ("keys: {a: {key: same}, b: {key: same}}", {}, "keys.b"),
        ("server: {insecure_allow_unauthenticated: true}", {}, "server.insecure_allow_unauthenticated"),
        ("cache: {url: '${NOT_SET}'}", {}, "${NOT_SET}"),
        ("retry: {max_retries: 3}", {}, "retry.max_retries"),
        ("", {"PORT": "http"}, "server.port"),
        ("", {"CACHE_TTL": "long"}, "CACHE_TTL"),
        ("cache: {ttl_seconds: .inf}", {}, "cache.ttl_seconds"),
        ("cache: {l1_seconds: -1}", {}, "cache.l1_seconds"),
        ("", {"SIGNALBOX__CACHE__L1_SECONDS": "86400"}, "cache.l1_seconds"),
        ("", {"REDIS_HOST": "h", "REDIS_PORT": "abc"}, "cache.url"),
        ("", {"SIGNALBOX_API_KEYS": "web="}, "SIGNALBOX_API_KEYS"),
        ("", {"SIGNALBOX_API_KEY": "web=k-1"}, "SIGNALBOX_API_KEY"),
        ("", {"SIGNALBOX_API_KEYS": "padded=="}, "SIGNALBOX_API_KEYS"),
        ("", {"SIGNALBOX_API_KEYS": "web=k-1,web=k-2"}, "SIGNALBOX_API_KEYS"),
        ("", {"OPENAI_API_KEY_FILE": "/nowhere/key"}, "OPENAI_API_KEY_FILE"),
    ],
)
def test_what_cannot_be_stops_the_start_and_names_its_path(
    tmp_path: Path, text: str, environ: dict[str, str], path: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        from_file(tmp_path, text, environ)

    assert caught.value.path == path


def test_http2_without_its_package_says_what_to_install(tmp_path: Path) -> None:
    file = tmp_path / "signalbox.yaml"
    file.write_text("providers: {a: {base_url: https://x, http2: true}}")
    without_it = "import sys; sys.modules['h2'] = None; from app.cli import main; main()"  # as if it were not installed

    ended = subprocess.run(
        [sys.executable, "-c", without_it, "check", "--config", str(file)], capture_output=True, text=True, check=False
    )

    assert ended.returncode == 1
    assert "pip install 'signalbox[http2]'" in ended.stdout + ended.stderr


@pytest.mark.parametrize("text", ["- a list", "cache: [", "5", "\x00"])
def test_a_file_that_is_no_configuration_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"signalbox\.yaml"):
        from_file(tmp_path, text)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.yaml", {})


@pytest.mark.parametrize(
    ("environ", "rows"),
    [
        ({"OPENROUTER_API_KEY": "k"}, {"openrouter": "https://openrouter.ai/api/v1"}),
        (
            {"GROQ_API_KEY": "k", "OPENAI_API_KEY": "k"},
            {"openai": "https://api.openai.com/v1", "groq": "https://api.groq.com/openai/v1"},
        ),
        ({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://h/v1"}, {"openai": "http://h/v1"}),
        ({"VLLM_API_KEY": "k", "VLLM_BASE_URL": "http://h/v1"}, {"vllm": "http://h/v1"}),
        ({"VLLM_API_KEY": "k"}, {"demo": ""}),
        ({"OPENAI_BASE_URL": "http://h/v1"}, {"demo": ""}),
        ({"OPENAI_API_KEY": ""}, {"demo": ""}),
        ({"NOMYO_API_KEY": "k", "NOMYO_BASE_URL": "http://h", "SIGNALBOX_PORT": "tcp://10.0.0.1:80"}, {"demo": ""}),
        ({"OPENROUTER_OPENAI_API_KEY": "k"}, {"openrouterOpenAI": "https://openrouter.ai/api/v1"}),
        ({"SIGNALBOX__PROVIDERS__LOCAL__BASE_URL": "http://l/v1", "LOCAL_API_KEY": "k"}, {"local": "http://l/v1"}),
    ],
)
def test_keys_in_the_environment_make_providers(empty: Path, environ: dict[str, str], rows: dict[str, str]) -> None:
    providers = load(empty, environ).settings.providers

    assert {name: row.base_url for name, row in providers.items()} == rows
    assert all(row.api_key == "k" for row in providers.values() if row.kind != "demo")


def test_rows_keep_their_case_and_variables_match_them_without_it(tmp_path: Path) -> None:
    environ = {
        "SIGNALBOX__PROVIDERS__OPENROUTEROPENAI__API_KEY": "k-1",
        "MY_BOX_API_KEY": "k-2",
        "MY_BOX_TIMEOUT": "2500",
    }

    text = "providers:\n  openrouterOpenAI:\n  my-Box: {base_url: http://b/v1}"
    providers = from_file(tmp_path, text, environ).settings.providers

    assert list(providers) == ["openrouterOpenAI", "my-Box"]
    assert (providers["openrouterOpenAI"].api_key, providers["openrouterOpenAI"].prefix_only) == ("k-1", True)
    assert (providers["my-Box"].api_key, providers["my-Box"].timeouts.total) == ("k-2", 2.5)


def test_openrouter_is_told_who_we_are(empty: Path) -> None:
    environ = {"OPENROUTER_API_KEY": "k", "OPENAI_API_KEY": "k", "SITE_URL": "http://s", "SITE_NAME": "S"}

    providers = load(empty, environ).settings.providers

    assert providers["openrouter"].headers == {"HTTP-Referer": "http://s", "X-Title": "S"}
    assert providers["openai"].headers == {}


def test_secrets_may_come_from_files(empty: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-file\n")
    (tmp_path / "other").write_text("another\n")
    names = ["OPENAI_API_KEY_FILE", "SIGNALBOX_API_KEYS_FILE"]
    files = dict.fromkeys(names, str(tmp_path / "key")) | {"SIGNALBOX__METRICS__KEY_FILE": str(tmp_path / "other")}

    settings = load(empty, files).settings

    assert settings.providers["openai"].api_key == "from-file"
    assert [row.key for row in settings.keys.values()] == ["from-file"]
    assert settings.metrics.key == "another"


def test_a_secret_given_twice_is_refused(empty: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one of them is enough"):
        load(empty, {"OPENAI_API_KEY": "k", "OPENAI_API_KEY_FILE": str(tmp_path / "key")})


def test_a_strangers_key_file_does_not_stop_the_start(empty: Path) -> None:
    assert "demo" in load(empty, {"TEAPOT_API_KEY_FILE": "/nowhere"}).settings.providers


def test_named_and_plain_keys_are_told_apart_and_plain_names_do_not_move(empty: Path) -> None:
    both = load(empty, {"SIGNALBOX_API_KEYS": "alice=k-1,bob=padded==,other"}).settings.keys
    fewer = load(empty, {"SIGNALBOX_API_KEYS": "other"}).settings.keys

    assert [row.key for row in both.values()] == ["k-1", "padded==", "other"]
    assert list(fewer) == list(both)[2:]
    assert list(both)[:2] == ["alice", "bob"]


def test_redis_may_be_named_in_parts(empty: Path) -> None:
    environ = {"REDIS_HOST": "h", "REDIS_PORT": "7", "REDIS_PASSWORD": "p@/:", "REDIS_DB": "2"}

    assert load(empty, environ).settings.cache.url == "redis://:p%40%2F%3A@h:7/2"


def test_a_breaker_has_the_names_another_system_taught(empty: Path) -> None:
    environ = {"PROVIDER_CIRCUIT_FAIL_THRESHOLD": "7", "PROVIDER_CIRCUIT_COOLDOWN_SEC": "30"}

    breaker = load(empty, environ).settings.breaker

    assert (breaker.failures, breaker.open_seconds) == (7, 30)


def test_the_start_says_which_unit_was_taken(empty: Path) -> None:
    environ = {"OPENAI_API_KEY": "k", "REQUEST_TIMEOUT": "30000", "CACHE_TTL": "60"}

    loaded = load(empty, environ)

    assert loaded.settings.providers["openai"].timeouts.total == 30
    assert loaded.notices == ["CACHE_TTL is taken as seconds", "REQUEST_TIMEOUT=30000 is taken as milliseconds"]


def test_a_name_that_is_nearly_a_setting_is_told(empty: Path) -> None:
    assert load(empty, {"SIGNALBOX_CACHE_TTL": "60"}).notices == [
        "SIGNALBOX_CACHE_TTL means nothing; settings are written SIGNALBOX__SECTION__KEY"
    ]
    with pytest.raises(ConfigError, match="did you mean base_url"):
        load(empty, {"SIGNALBOX__PROVIDERS__X__BASE_ULR": "http://x"})
    with pytest.raises(ConfigError, match="did you mean providers"):
        load(empty, {"SIGNALBOX__PROVIDER__X__BASE_URL": "http://x"})


def test_lists_may_be_written_with_commas_or_as_json(empty: Path) -> None:
    environ = {
        "SIGNALBOX__CACHE__FINISH_REASONS": "stop, length",
        "SIGNALBOX__CORS__ORIGINS": '["https://a"]',
        "SIGNALBOX__PROVIDERS__X__BASE_URL": "http://x/v1",
        "SIGNALBOX__PROVIDERS__X__HEADERS": '{"X-A":"b"}',
    }

    loaded = load(empty, environ)

    assert loaded.settings.cache.finish_reasons == ("stop", "length")
    assert loaded.settings.cors.origins == ("https://a",)
    origins = {path: origin for path, _, origin in effective(loaded)}
    assert origins["providers.x.headers.X-A"] == "environment SIGNALBOX__PROVIDERS__X__HEADERS"


def test_variables_are_put_into_the_file(tmp_path: Path) -> None:
    text = "providers: {a: {base_url: '${URL}', api_key: '${KEY:-none}', models: ['${URL}']}}"

    row = from_file(tmp_path, text, {"URL": "http://u/v1"}).settings.providers["a"]

    assert (row.base_url, row.api_key, row.models) == ("http://u/v1", "none", ("http://u/v1",))


def test_no_secret_is_shown(empty: Path) -> None:
    secrets = {
        "OPENAI_API_KEY": "sk-1-secret",
        "SIGNALBOX_API_KEYS": "a=k-2-secret",
        "REDIS_URL": "redis://u:p-3-secret@h",
    }

    loaded = load(empty, {**secrets, "SIGNALBOX__METRICS__KEY": "m-4-secret"})

    shown = repr(loaded.settings) + "".join(map(str, effective(loaded)))
    assert "secret" not in shown.lower().replace("secret('***')", "")
    assert ("cache.url", "redis://***@h", "environment REDIS_URL") in effective(loaded)
