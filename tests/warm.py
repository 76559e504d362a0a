"""Runs commands of `tollway` as real processes without the second that each new interpreter takes to load the same modules.

One process per pytest process has loaded the program and forks for every command and every server: own environment, own output, own
session, own exit status. What forks has no event loop, no connection and no thread.
"""

import atexit
import contextlib
import gc
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from functools import cache
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parent.parent
REQUEST_BYTES_MAX = 256 * 1024


def run(
    arguments: tuple[str, ...], environment: dict[str, str], *, folder: Path = ROOT, seconds: float = 60
) -> "subprocess.CompletedProcess[str]":
    """`python -m gateway ARGUMENTS` in `folder`."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        status = Process(arguments, environment, folder=folder, out=out, err=err).wait(seconds)
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(arguments, status, out.read().decode(), err.read().decode())


class Process:
    """A running `python -m gateway ARGUMENTS`, in a session of its own. It ends at the latest with the process that started it."""

    def __init__(
        self, arguments: tuple[str, ...], environment: dict[str, str], *, folder: Path = ROOT, out: IO[bytes], err: IO[bytes]
    ) -> None:
        self._line = socket.socket(socket.AF_UNIX)
        self._line.connect(_server())
        request = json.dumps({"arguments": arguments, "environment": environment, "folder": str(folder)}).encode()
        socket.send_fds(self._line, [request], [out.fileno(), err.fileno()])
        self._line.shutdown(socket.SHUT_WR)
        self._told = self._line.makefile("rb")
        self.pid = int(self._told.readline())
        self.status: int | None = None

    def poll(self) -> int | None:
        """The exit status (of a signal: its negative number), None while it runs."""
        return self.status if self.status is not None or not select.select([self._line], [], [], 0)[0] else self.wait(10)

    def wait(self, seconds: float) -> int:
        """TimeoutError if it runs on."""
        if self.status is None:
            self._line.settimeout(seconds)
            self.status = int(self._told.readline())
            self._told.close()
            self._line.close()
        return self.status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@cache
def _server() -> str:
    """The address of the process that forks, started on first use; it ends with this one, whose end closes its stdin."""
    address = str(Path(tempfile.mkdtemp(prefix="tollway-warm-")) / "socket")
    process = subprocess.Popen([sys.executable, "-m", "tests.warm", address], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    atexit.register(_stop, process, Path(address).parent)
    assert process.stdout is not None
    with process.stdout as told:
        assert told.readline() == b"READY\n"
    return address


def _stop(process: "subprocess.Popen[bytes]", folder: Path) -> None:
    process.kill()
    process.wait()
    shutil.rmtree(folder, ignore_errors=True)


def _serve(address: str) -> None:
    from gateway import demo, server  # noqa: F401 - what `serve` and `demo` would load
    from gateway.cli import main
    from metering import tokens
    from tests.fakes.provider import die_with_parent

    tokens.warm("o200k_base")
    gc.collect()
    gc.freeze()  # a collection in a child would copy every page of what was loaded here
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        print("READY", flush=True)
        while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
            line, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                die_with_parent()
                _answer(line, main)
            line.close()


def _answer(line: socket.socket, main: object) -> None:
    """In a process of its own: forks the command, tells its pid, waits for it and tells its exit status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request, fds, _, _ = socket.recv_fds(line, REQUEST_BYTES_MAX, 2)
    while more := line.recv(REQUEST_BYTES_MAX):
        request += more
    child = os.fork()
    if child == 0:
        line.close()
        os.setsid()
        _command(json.loads(request), fds, main)
    for fd in fds:
        os.close(fd)
    with contextlib.suppress(OSError):
        line.sendall(b"%d\n" % child)
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(OSError):
        line.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _command(wanted: dict[str, object], fds: list[int], main: object) -> None:
    arguments, environment = wanted["arguments"], wanted["environment"]
    assert isinstance(arguments, list)
    assert isinstance(environment, dict)
    assert callable(main)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (fds[0], 1), (fds[1], 2)):
        os.dup2(source, target)
    os.chdir(str(wanted["folder"]))
    os.environ.clear()
    os.environ.update(environment)
    status = 1
    try:
        main(arguments, prog_name="python -m gateway")
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - prints what a new interpreter would print
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve(sys.argv[1])
