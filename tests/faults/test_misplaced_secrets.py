"""Secrets where they cannot be: what the start then says."""

from pathlib import Path

import pytest

from tests.support.canary import leaks, secret
from tests.support.processes import told

pytestmark = pytest.mark.e2e

S = secret("misplaced")
MISPLACED: dict[str, tuple[str, dict[str, str]]] = {
    "unclosed": (f'providers: {{a: {{base_url: http://x, api_key: "{S}', {}),
    "tab": (f"providers:\n\ta:\n  api_key: {S}", {}),
    "list": (f"providers: {{a: {{base_url: http://x, api_key: [{S}]}}}}", {}),
    "number": (f"metrics: {{key: {{{S}: 1}}}}", {}),
    "not-ascii": (f"providers: {{a: {{base_url: http://x, api_key: {S}\u00e9}}}}", {}),
    "header": (f'providers: {{a: {{base_url: http://x, headers: {{x-key: "{S}\\n"}}}}}}', {}),
    "scheme": (f"providers: {{a: {{base_url: ftp://me:{S}@x}}}}", {}),
    "port": (f"providers: {{a: {{base_url: http://me:{S}@x:port}}}}", {}),
    "bracket": (f"providers: {{a: {{base_url: 'http://me:{S}@[x'}}}}", {}),
    "proxy": (f"providers: {{a: {{base_url: http://x, proxy: socks5://me:{S}@x}}}}", {}),
    "proxy-bracket": (f"providers: {{a: {{base_url: http://x, proxy: 'http://me:{S}@[x'}}}}", {}),
    "redis": (f"cache: {{url: http://:{S}@x}}", {}),
    "redis-port": (f"cache: {{url: redis://:{S}@x:port}}", {}),
    "redis-bracket": (f"cache: {{url: 'redis://:{S}@[x'}}", {}),
    "telemetry": (f"telemetry: {{endpoint: ftp://me:{S}@x}}", {}),
    "telemetry-headers": ("", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_EXPORTER_OTLP_HEADERS": f"x-key {S}"}),
    "check": (f"health: {{checks: {{hook: {{url: http://me:{S}@x}}}}}}", {}),
    "check-bracket": (f"health: {{checks: {{hook: {{url: 'http://me:{S}@[x'}}}}}}", {}),
    "twice": (f"keys: {{a: {{key: {S}}}, b: {{key: {S}}}}}", {}),
    "two-doors": (f"keys: {{a: {{key: {S}}}}}\nmetrics: {{key: {S}}}", {}),
    "blank": (f"keys: {{a: {{key: '{S} {S}'}}}}", {}),
    "padded": ("", {"SIGNALBOX_API_KEYS": f"{S}=="}),
    "plain-twice": ("", {"SIGNALBOX_API_KEYS": f"{S},{S}"}),
    "key-of-a-section": ("", {"SIGNALBOX__KEYS": S}),
    "key-of-a-row": ("", {"SIGNALBOX__KEYS__A": S}),
    "section": (f"keys: {S}", {}),
    "row": (f"keys: {{a: {S}}}", {}),
    "rows": (f"keys: [{S}]", {}),
    "provider-row": (f"providers: {{a: {S}}}", {}),
    "json": (
        "",
        {"SIGNALBOX__PROVIDERS__A__HEADERS": f'{{"x-key": {S}}}', "SIGNALBOX__PROVIDERS__A__BASE_URL": "http://x"},
    ),
}


@pytest.mark.parametrize("command", ["check", "serve"])
@pytest.mark.parametrize(("made", "variables"), MISPLACED.values(), ids=MISPLACED)
def test_M_07_a_start_that_fails_tells_no_secret(
    tmp_path: Path, made: str, variables: dict[str, str], command: str
) -> None:
    """A secret where it cannot be: in YAML that is none, of another type, in an address nobody reads, given twice.

    Happens: no start, exit status 1; one sentence without any part of the secret.
    Seen: the sentence, on standard error.
    """
    said = told(tmp_path, command, made, variables)

    assert said.startswith("1 signalbox: ")
    assert "Traceback" not in said
    assert leaks({"misplaced": S}, said) == []
