"""A gateway as a context: started alone on its own core, timed until it is ready, ended with all of its processes."""

import http.client
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

from benchmarks import processes, setup_peers
from benchmarks.gateways import ROOT, Gateway, Launch, clean_environment

READY_LIMIT_S = 90
END_LIMIT_S = 10
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
BASE_URL = re.compile(r"http://(?:127\.0\.0\.1|0\.0\.0\.0|localhost):(\d+)")


@dataclass(frozen=True)
class Running:
    """Something that answers chat completions; `leader` is the pid whose session holds all of its processes."""

    port: int
    leader: int
    path: str = "/v1/chat/completions"
    model: str = "mock"
    headers: dict[str, str] = field(default_factory=dict)
    beside: list[int] = field(default_factory=list)
    cold_start_s: float = 0.0

    def cpu_seconds(self) -> float:
        return processes.cpu_seconds(processes.in_session(self.leader))

    def resident_mb(self) -> float:
        return processes.resident_mb(processes.in_session(self.leader))

    def beside_cpu_seconds(self) -> float:
        return processes.cpu_seconds(pid for parent in self.beside for pid in processes.with_children(parent))


@dataclass(frozen=True)
class Cores:
    """The gateway has one core to itself where there are two or more; mock, load and database share the rest."""

    gateway: set[int]
    rest: set[int]

    @classmethod
    def split(cls, pin: bool) -> "Cores":
        every = os.sched_getaffinity(0)
        if not pin or len(every) < 2:
            return cls(gateway=every, rest=every)
        first = min(every)
        return cls(gateway={first}, rest=every - {first})


@contextmanager
def mock(cores: Cores) -> Iterator[Running]:
    argv = [sys.executable, "-m", "benchmarks.upstream"]
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        log = Path(folder) / "log"
        with spawned(argv, env=clean_environment(), cores=cores.rest, log=log) as process:
            yield Running(port=printed_port(log, process), leader=process.pid)


@contextmanager
def running(gateway: Gateway, upstream: int, cores: Cores) -> Iterator[Running]:
    """Raises RuntimeError with the end of the gateway's own log if it does not come up."""
    setup_peers.CACHE.mkdir(exist_ok=True)  # beside the checkout: /tmp may be memory, where an fsync costs nothing
    with tempfile.TemporaryDirectory(prefix="run-", dir=setup_peers.CACHE, ignore_cleanup_errors=True) as folder, ExitStack() as stack:
        work = Path(folder)
        launch = gateway.launch(work, upstream, stack)
        log = work / "log"
        started = monotonic()
        env = clean_environment() | launch.env
        process = stack.enter_context(spawned(launch.argv, env=env, cores=cores.gateway, log=log))
        try:
            port = launch.port or printed_port(log, process)
            if launch.ready:
                wait_ready(port=port, path=launch.ready, process=process)
        except RuntimeError as error:
            raise RuntimeError(f"{error}: {last_words(log, work)}") from None
        yield describe(launch, port=port, leader=process.pid, cold_start_s=monotonic() - started)


def describe(launch: Launch, port: int, leader: int, cold_start_s: float) -> Running:
    return Running(
        port=port,
        leader=leader,
        path=launch.path,
        model=launch.model,
        headers=launch.headers,
        beside=launch.beside,
        cold_start_s=cold_start_s,
    )


@contextmanager
def spawned(argv: list[str], env: dict[str, str], cores: set[int], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, so that its children can be found and ended with it."""
    with log.open("w") as output:
        process = subprocess.Popen(
            argv,
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        try:
            yield process
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(END_LIMIT_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def printed_port(log: Path, process: subprocess.Popen[bytes]) -> int:
    """For those that choose their own port and print their URL."""
    for _ in polls(process):
        if found := BASE_URL.search(log.read_text(errors="replace")):
            return int(found[1])
    raise RuntimeError(f"it printed no URL within {READY_LIMIT_S} s")


def wait_ready(port: int, path: str, process: subprocess.Popen[bytes]) -> None:
    for _ in polls(process):
        with suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", path)
            status = connection.getresponse().status
            connection.close()
            if status == 200:
                return
    raise RuntimeError(f"it was not ready within {READY_LIMIT_S} s")


def polls(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """One turn every 10 ms while the process lives and there is time."""
    deadline = monotonic() + READY_LIMIT_S
    while monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"it ended with {process.returncode}")
        yield
        sleep(0.01)


def last_words(log: Path, work: Path) -> str:
    """The end of the log without this machine's paths: the text goes into a published table."""
    return " ".join(COLOUR.sub("", log.read_text(errors="replace")).split())[-200:].replace(str(work), "<work>")
