"""Kills a whole PostgreSQL server with -9 and starts it again on the same data, port and settings. Linux: it reads /proc."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import asyncpg

from tests import servers


class Crashable:
    """A server of `servers.postgres`, whose process it replaces."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._process: subprocess.Popen[bytes] | None = None
        self._command: list[str] = []
        self._folder = Path()

    async def kill(self) -> None:
        """The postmaster and every backend, in the middle of whatever they do."""
        connection = await asyncpg.connect(self.url)
        data = Path(await connection.fetchval("SHOW data_directory"))
        connection.terminate()
        postmaster = int((data / "postmaster.pid").read_text().splitlines()[0])
        self._command = Path(f"/proc/{postmaster}/cmdline").read_bytes().decode().rstrip("\0").split("\0")
        self._folder = data.parent
        family = [postmaster, *_children(postmaster)]
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(postmaster, 0)  # it was started by this process, and as a zombie it would keep its pid file
        while any(_lives(pid) for pid in family):
            time.sleep(0.01)

    async def start(self) -> None:
        """Returns when it has recovered and takes connections."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                servers._launch(self._command, account=servers._unprivileged()),
                cwd=self._folder, env=servers._environment(self._folder), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        for _ in range(600):
            with contextlib.suppress(OSError, asyncpg.PostgresError):
                await (await asyncpg.connect(self.url, timeout=2)).close()
                return
            time.sleep(0.05)
        raise TimeoutError("PostgreSQL did not come back in 30 s")

    def close(self) -> None:
        if self._process is not None:
            servers._stop(self._process, with_signal=signal.SIGQUIT)


def _children(parent: int) -> list[int]:
    return [int(pid) for task in Path(f"/proc/{parent}/task").iterdir() for pid in (task / "children").read_text().split()]


def _lives(pid: int) -> bool:
    """A zombie does not: its first parent may be somebody who has not looked yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
