"""Runs commands of `tollway` as real processes without the second that each new interpreter takes to load the same modules.

One process per pytest process has loaded the command line and forks for every command: own environment, own output, own exit status.
"""

import atexit
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
REQUEST_BYTES_MAX = 256 * 1024


def run(
    arguments: tuple[str, ...], environment: dict[str, str], *, folder: Path = ROOT, seconds: float = 60
) -> "subprocess.CompletedProcess[str]":
    """`python -m gateway ARGUMENTS` in `folder`."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, socket.socket(socket.AF_UNIX) as line:
        line.settimeout(seconds)
        line.connect(_server())
        request = json.dumps({"arguments": arguments, "environment": environment, "folder": str(folder)}).encode()
        socket.send_fds(line, [request], [out.fileno(), err.fileno()])
        line.shutdown(socket.SHUT_WR)
        status = int(line.recv(16))
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(arguments, status, out.read().decode(), err.read().decode())


@cache
def _server() -> str:
    """The address of the process that forks, started on first use; it ends with this one."""
    address = str(Path(tempfile.mkdtemp(prefix="tollway-warm-")) / "socket")
    process = subprocess.Popen([sys.executable, "-m", "tests.warm", address], cwd=ROOT, stdout=subprocess.PIPE)
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
    from gateway.cli import main
    from tests.fakes.provider import die_with_parent

    die_with_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        print("READY", flush=True)
        while True:
            line, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _answer(line, main)
            line.close()


def _answer(line: socket.socket, main: object) -> None:
    """In a process of its own: forks the command, waits for it and tells its exit status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request, fds, _, _ = socket.recv_fds(line, REQUEST_BYTES_MAX, 2)
    while more := line.recv(REQUEST_BYTES_MAX):
        request += more
    child = os.fork()
    if child == 0:
        line.close()
        _command(json.loads(request), fds, main)
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(OSError):
        line.sendall(str(os.waitstatus_to_exitcode(status)).encode())
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
