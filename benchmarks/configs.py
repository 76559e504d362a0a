"""The configuration text of each gateway, written so that none is slowed by a log, a limit or a retry that others do not have."""

from pathlib import Path

TOLLWAY_MODEL = "bench/mock"


def catalog(upstream: int) -> str:
    return f"""
[[model]]
id = "{TOLLWAY_MODEL}"
name = "Bench Mock"
company = "bench"
context_length = 128000

[[provider]]
slug = "bench-mock"
name = "Bench Mock"
dialect = "openai"
base_url = "http://127.0.0.1:{upstream}/v1"
data_policy = {{ trains = false, retention_days = 0 }}

[[endpoint]]
model = "{TOLLWAY_MODEL}"
provider = "bench-mock"
upstream_model = "mock"
max_output_tokens = 8192
price = {{ prompt = "0.15", completion = "0.60", cached_prompt = "0.075" }}
"""


def nginx(work: Path, port: int, upstream: int, root: bool) -> str:
    return f"""
daemon off;
{"user root;" if root else ""}
worker_processes 1;
worker_rlimit_nofile 16384;
pid {work}/nginx.pid;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {work}/body;
  proxy_temp_path {work}/proxy;
  fastcgi_temp_path {work}/fastcgi;
  uwsgi_temp_path {work}/uwsgi;
  scgi_temp_path {work}/scgi;
  keepalive_requests 100000000;
  upstream mock {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    location = /health {{ return 200 "ok"; }}
    location / {{
      proxy_pass http://mock;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 300s;
    }}
  }}
}}
"""


def tensorzero(upstream: int) -> str:
    return f"""
[gateway]
observability.enabled = false

[models.mock]
routing = ["mock"]

[models.mock.providers.mock]
type = "openai"
model_name = "gpt-4o-mini"
api_base = "http://127.0.0.1:{upstream}/v1/"
api_key_location = "none"
"""


def tensorzero_script(config: Path) -> str:
    """The wheel carries the whole Rust gateway; this is the entry that its own `patch_openai_client` uses."""
    return f"""
import time
import tensorzero
gateway = tensorzero.tensorzero._start_http_gateway(
    config_file={str(config)!r}, clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False
)
print(gateway.base_url, flush=True)
time.sleep(1e9)
"""


def litellm(upstream: int, key: str) -> str:
    return f"""
model_list:
  - model_name: mock
    litellm_params: {{model: openai/mock, api_base: "http://127.0.0.1:{upstream}/v1", api_key: sk-x}}
litellm_settings: {{callbacks: [], num_retries: 0}}
general_settings: {{master_key: {key}}}
"""
