"""The others: where they come from, what is switched on, how they are started."""

import json
import os
import shutil
import sys
from pathlib import Path

import msgspec

from benchmarks.endpoint import Plan
from benchmarks.gateways import KEY, MODELS, ROOT, Gateway, Place, UnavailableError, installed
from benchmarks.processes import free_port

LOOPBACK_ONLY = ROOT / "tests" / "e2e" / "node" / "loopback.mjs"


class FromPip(Gateway):
    """A peer that is a Python package, in a virtual environment of its own."""

    folder: str
    packages: tuple[str, ...]
    """The peer itself first, with its version."""

    def install(self, scratch: Path) -> None:
        home = scratch / self.folder
        stamp, wanted = home / "installed.txt", "\n".join(self.packages)
        if stamp.exists() and stamp.read_text() == wanted:
            return
        home.mkdir(parents=True, exist_ok=True)
        installed([sys.executable, "-m", "venv", str(home)], home)
        pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        installed([*pip, "--only-binary", ":all:", *self.packages], home)
        stamp.write_text(wanted)

    def version(self, scratch: Path) -> str:
        return self.packages[0].partition("==")[2]

    def program(self, place: Place, name: str) -> str:
        return str(place.scratch / self.folder / "bin" / name)


class LiteLLM(FromPip):
    """Its proxy, with the settings its own guide recommends for production, less the database."""

    name = "litellm"
    title = "LiteLLM"
    on = (
        "key check (master key), router, cost calculation; no cache, no database, no callbacks; one worker, "
        "LITELLM_MODE=PRODUCTION, LITELLM_LOG=ERROR, opentelemetry-sdk added (without it every request imports anew)"
    )
    folder = "litellm"
    packages = ("litellm[proxy]==1.106.2", "opentelemetry-sdk", "redis")

    def plan(self, place: Place) -> Plan:
        port = free_port()
        file = place.directory / f"{self.name}.yaml"
        rows = [
            {
                "model_name": model,
                "litellm_params": {"model": f"openai/{model}", "api_base": place.mock_url, "api_key": "sk-upstream"},
            }
            for model in MODELS
        ]
        settings = {"telemetry": False} | self.cache(place)
        config = {"model_list": rows, "litellm_settings": settings, "general_settings": {"master_key": KEY}}
        file.write_bytes(msgspec.yaml.encode(config))
        command = [self.program(place, "litellm"), "--config", str(file), "--num_workers", "1"]
        return Plan(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            port=port,
            headers={"authorization": f"Bearer {KEY}"},
            environ={
                "LITELLM_MODE": "PRODUCTION",
                "LITELLM_LOG": "ERROR",
                "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            },
            hit_header="x-litellm-cache-key" if self.caches else "",
        )

    def cache(self, place: Place) -> dict[str, object]:
        return {}


class LiteLLMRedis(LiteLLM):
    """The same with its cache in Redis."""

    name = "litellm-redis"
    title = "LiteLLM, Redis"
    on = "as above, with its Redis cache"
    forwards = False
    caches = True

    def cache(self, place: Place) -> dict[str, object]:
        if not place.redis:
            raise UnavailableError("no redis-server on this machine")
        return {"cache": True, "cache_params": {"type": "redis", "host": "127.0.0.1", "port": place.redis}}


class SglangRouter(FromPip):
    """A router for sglang servers, in Rust; any server that speaks OpenAI's API will do behind it."""

    name = "sglang-router"
    title = "sglang-router"
    on = "retries, circuit breaker, health checks, metrics; round robin; no key check, no cache"
    folder = "sglang"
    packages = ("sglang-router==0.3.2",)

    def plan(self, place: Place) -> Plan:
        port = free_port()
        command = [self.program(place, "python"), "-m", "sglang_router.launch_router", "--policy", "round_robin"]
        command += ["--worker-urls", f"http://127.0.0.1:{place.mock}", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(free_port()), "--log-level", "error"]
        return Plan(command, port=port)


TENSORZERO_MODEL = """
[models.{model}]
routing = ["mock"]
[models.{model}.providers.mock]
type = "openai"
model_name = "{model}"
api_base = "{url}/"
api_key_location = "none"
"""
TENSORZERO_START = """
import sys, threading
from openai import OpenAI
from tensorzero import patch_openai_client
client = patch_openai_client(OpenAI(api_key="none"), config_file=sys.argv[1], async_setup=False)
print(client.base_url, flush=True)
threading.Event().wait()
"""


class TensorZero(FromPip):
    """The HTTP gateway, in Rust, that its Python package carries."""

    name = "tensorzero"
    title = "TensorZero"
    on = "routing; no key check, no cache, observability off"
    folder = "tensorzero"
    packages = ("tensorzero==2026.6.0", "openai")

    def plan(self, place: Place) -> Plan:
        file = place.directory / "tensorzero.toml"
        models = (TENSORZERO_MODEL.format(model=model, url=place.mock_url) for model in MODELS)
        file.write_text("[gateway]\nobservability.enabled = false\n" + "".join(models))
        return Plan(
            [self.program(place, "python"), "-W", "ignore", "-c", TENSORZERO_START, str(file)],
            path="/openai/v1/chat/completions",
            model="tensorzero::model_name::{}",
        )


class Portkey(Gateway):
    """The gateway for Node."""

    name = "portkey"
    title = "Portkey"
    on = "routing by headers, header checks; no cache, no metrics; NODE_ENV=production"
    release = "1.15.2"

    def install(self, scratch: Path) -> None:
        """With the one server library pinned with which it runs on Node 20."""
        home = scratch / "portkey"
        home.mkdir(parents=True, exist_ok=True)
        package = {
            "private": True,
            "dependencies": {"@portkey-ai/gateway": self.release},
            "overrides": {"@hono/node-server": "1.13.8"},
        }
        wanted = json.dumps(package)
        stamp = home / "installed.txt"
        if stamp.exists() and stamp.read_text() == wanted:
            return
        if (npm := shutil.which("npm")) is None:
            raise UnavailableError("no npm on this machine")
        (home / "package.json").write_text(wanted)
        installed([npm, "install", "--no-audit", "--no-fund", "--silent"], home)
        stamp.write_text(wanted)

    def version(self, scratch: Path) -> str:
        return f"{self.release} on Node {installed(['node', '--version'], scratch).strip()}"

    def plan(self, place: Place) -> Plan:
        port = free_port()
        program = place.scratch / "portkey" / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
        return Plan(
            ["node", "--import", str(LOOPBACK_ONLY), str(program), "--headless", f"--port={port}"],
            port=port,
            headers={
                "authorization": "Bearer sk-upstream",
                "x-portkey-provider": "openai",
                "x-portkey-custom-host": place.mock_url,
            },
            environ={"NODE_ENV": "production"},
        )


NGINX = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr error;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {directory}/nginx-body;
  proxy_temp_path {directory}/nginx-proxy;
  fastcgi_temp_path {directory}/nginx-fastcgi;
  uwsgi_temp_path {directory}/nginx-uwsgi;
  scgi_temp_path {directory}/nginx-scgi;
  client_body_buffer_size 256k;
  keepalive_requests 1000000000;
  upstream mock {{ server 127.0.0.1:{mock}; keepalive 1024; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://mock;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Authorization "Bearer sk-upstream";
      proxy_buffering off;
    }}
  }}
}}
"""


class Nginx(Gateway):
    """A proxy that knows nothing of models: what forwarding costs in C."""

    name = "nginx"
    title = "nginx"
    on = "forwards and sets the provider's key; nothing else, no access log"

    def install(self, scratch: Path) -> None:
        if shutil.which("nginx"):
            return
        if os.geteuid() or not shutil.which("apt-get"):
            raise UnavailableError("no nginx on this machine")
        installed(["apt-get", "update", "-qq"], scratch)
        quiet = ["env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1"]
        installed([*quiet, "apt-get", "install", "-y", "-qq", "--no-install-recommends", "nginx-light"], scratch)

    def version(self, scratch: Path) -> str:
        return installed(["nginx", "-v"], scratch).rpartition("/")[2].strip()

    def plan(self, place: Place) -> Plan:
        port = free_port()
        file = place.directory / "nginx.conf"
        file.write_text(NGINX.format(directory=place.directory, mock=place.mock, port=port))
        return Plan(["nginx", "-p", str(place.directory), "-c", str(file)], port=port)


PEERS: tuple[type[Gateway], ...] = (LiteLLM, LiteLLMRedis, Portkey, TensorZero, SglangRouter, Nginx)
