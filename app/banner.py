"""What an operator reads first."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from app import __version__
from app.settings import Settings, local_address, redis_address


def banner(settings: Settings, *, notices: Sequence[str]) -> str:
    """Address, providers, cache, keys, and a line that works when it is pasted."""
    server = settings.server
    host = f"[{server.host}]" if ":" in server.host else server.host
    address = local_address(server)
    demo = any(each.kind == "demo" for each in settings.providers.values())
    providers = ", ".join(settings.providers)
    if demo:
        providers = "none, so the built-in demo answers; set OPENROUTER_API_KEY or OPENAI_API_KEY for a real one"
    keys = f"{', '.join(settings.keys)}" if settings.keys else "none needed; SIGNALBOX_API_KEYS=name=key asks for one"
    authorization = " -H 'Authorization: Bearer YOUR_KEY'" if settings.keys else ""
    model = _example_model(settings, demo=demo)
    question = f'{{"model":"{model}","messages":[{{"role":"user","content":"Hello"}}]}}'
    lines = [
        f"Signalbox {__version__}",
        f"  address    {address}/v1  (listening on {host}:{server.port})",
        f"  providers  {providers}",
        f"  cache      {_cache(settings)}",
        f"  keys       {keys}",
        *([f"  log        {settings.log.file}"] if settings.log.file else []),
        f"  watch      {address}/health{f'  {address}/metrics' if settings.metrics.enabled else ''}",
        *([f"  metrics    {local_address(settings.aside)}/metrics"] if settings.aside else []),
        f"  try        curl {address}/v1/chat/completions{authorization} -d '{question}'",
        *(f"  note       {notice}" for notice in notices),
    ]
    return "\n".join(lines)


def _example_model(settings: Settings, *, demo: bool) -> str:
    if demo:
        return "demo"
    if settings.routes:
        return next(iter(settings.routes))
    if "openrouter" in settings.providers:
        return "openrouter/openai/gpt-4o-mini"
    if "openai" in settings.providers:
        return "openai/gpt-4o-mini"
    return "MODEL"


def _cache(settings: Settings) -> str:
    cache = settings.cache
    if not cache.enabled:
        return "off"
    if cache.backend == "memory" or not cache.url:
        return f"in memory, {cache.max_bytes // (1024 * 1024)} MiB, {cache.ttl_seconds:g} s"
    url, address = urlsplit(cache.url), redis_address(cache.url)
    where = ",".join(f"{host}:{port}" for host, port in address.hosts) + url.path
    kind = {"single": "", "sentinel": " by Sentinel", "cluster": " cluster"}[address.kind]
    return f"Redis{kind} at {where}, {cache.ttl_seconds:g} s"
