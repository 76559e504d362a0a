"""A real Tollway in its own process for tests: started by the command line, spoken to over sockets, stopped or killed."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tests import warm
from tests.servers import free_port

ROOT = Path(__file__).parent.parent
SECRET = "a-secret-for-tests-of-40-characters-long"
READY_SECONDS_MAX = 30


@dataclass
class Account:
    account_id: str
    key: str


class Tollway:
    """One `tollway serve`. `base_url` ends in /v1; `cli` runs a command on the same settings beside it.

    `cold`: in a new interpreter, as an operator starts it; else forked from one that has loaded the program (see `warm`).
    """

    def __init__(self, settings: dict[str, str], log: Path, *, cold: bool = False) -> None:
        self._cold = cold
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        self.log = log
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TOLLWAY_") and not name.endswith("_API_KEY")},
            "TOLLWAY_SECRET_KEY": SECRET,
            "TOLLWAY_HOST": "127.0.0.1",
            "TOLLWAY_PORT": str(self.port),
            "TOLLWAY_MAIL_FOLDER": str(log.parent / "mails"),
            **settings,
        }
        self._process: warm.Process | subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = self._cold_process(log) if self._cold else warm.Process(("serve",), self.environment, out=log, err=log)
        deadline = time.monotonic() + READY_SECONDS_MAX
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"tollway ended at start: {self.log.read_text()[-2000:]}")
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health/ready", timeout=2):
                return
            time.sleep(0.05)
        raise RuntimeError(f"tollway was not ready in {READY_SECONDS_MAX} s: {self.log.read_text()[-2000:]}")

    def _cold_process(self, log: IO[bytes]) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "gateway", "serve"]
        return subprocess.Popen(command, env=self.environment, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)

    def stop(self) -> int:
        """SIGTERM and the exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(60)

    def kill(self) -> None:
        """kill -9 of the whole process group."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return warm.run(arguments, self.environment)

    def cli_json(self, *arguments: str) -> Any:
        done = self.cli(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def account(self, credit: str = "10") -> Account:
        created = self.cli_json("account", "create", "--email", "owner@example.com", "--credit", credit)
        return Account(created["account_id"], created["key"])

    def get(self, path: str, key: str | None = None) -> Any:
        """The JSON of a GET below /v1."""
        request = urllib.request.Request(self.base_url + path, headers={"Authorization": f"Bearer {key}"} if key else {})
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)


@contextlib.contextmanager
def tollway(settings: dict[str, str], folder: Path, *, cold: bool = False) -> Iterator[Tollway]:
    """A running Tollway with these settings (`TOLLWAY_...`, provider keys); its log is `folder/tollway.log`."""
    running = Tollway(settings, folder / "tollway.log", cold=cold)
    running.start()
    try:
        yield running
    finally:
        running.kill()
