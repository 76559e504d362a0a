"""Starts the fake provider in its own process for a test and speaks to its control API."""

import json
import selectors
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fakes.faults import Json

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 20
CONTROL_TIMEOUT_S = 10


@dataclass(frozen=True)
class Fake:
    """`address` is the server, `base_url` what a client is pointed at: up to and including /v1."""

    address: str
    pid: int

    @property
    def base_url(self) -> str:
        return f"{self.address}/v1"

    def ledger(self, model: str | None = None) -> list[dict[str, Json]]:
        """Records, oldest first; one still being served has no outcome."""
        query = f"?{urllib.parse.urlencode({'model': model})}" if model is not None else ""
        rows: list[dict[str, Json]] = self._call("GET", f"ledger{query}")
        return rows

    def settled(self, model: str | None = None, *, count: int = 1, within_s: float = 5) -> list[dict[str, Json]]:
        """The ledger once at least `count` records are there and none is still being served; TimeoutError after `within_s`."""
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            rows = self.ledger(model)
            if len(rows) >= count and all(row["outcome"] for row in rows):
                return rows
            time.sleep(0.01)
        raise TimeoutError(f"not settled within {within_s} s: {self.ledger(model)}")

    def fault(self, model: str, **plan: Json) -> None:
        """`fault("fast-1", fault="slow-tokens", ms=20)`; `fault("fast-1", usage={...})` for a plain answer with that usage."""
        self._call("PUT", f"faults/{urllib.parse.quote(model, safe='')}", plan)

    def reset(self) -> None:
        """Forgets plans, failures counted so far, and the ledger; connections stay."""
        self._call("DELETE", "faults")
        self._call("DELETE", "ledger")

    def forget(self) -> None:
        """Empties the ledger; plans stay."""
        self._call("DELETE", "ledger")

    def connections(self) -> dict[str, int]:
        """{"open", "in_flight", "total"}, without those to the control API."""
        numbers: dict[str, int] = self._call("GET", "connections")
        return numbers

    def health(self) -> dict[str, Json]:
        health: dict[str, Json] = self._call("GET", "health")
        return health

    def _call(self, method: str, path: str, body: Json = None) -> Json:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.address}/control/{path}", data=data, method=method)
        with _opener.open(request, timeout=CONTROL_TIMEOUT_S) as response:
            return json.load(response)


@contextmanager
def fake_provider(*, port: int = 0) -> Iterator[Fake]:
    """A running fake provider; it also dies with the thread that entered here."""
    command = [sys.executable, "-m", "tests.fakes.provider", "--port", str(port)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        try:
            yield Fake(_ready(process), process.pid)
        finally:
            process.terminate()
            _ended(process)


_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _ready(process: "subprocess.Popen[bytes]") -> str:
    assert process.stdout
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        line = process.stdout.readline() if selector.select(START_TIMEOUT_S) else b""
    word, _, address = line.decode().strip().partition(" ")
    if word != "READY":
        raise RuntimeError(f"the fake provider did not start within {START_TIMEOUT_S} s: {line!r}")
    return address


def _ended(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
