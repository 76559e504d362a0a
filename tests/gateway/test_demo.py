"""`tollway demo` in an empty folder: what a newcomer types first, and exactly the command that it prints."""

import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.running import ROOT
from tests.servers import free_port

READY_SECONDS_MAX = 10


@dataclass
class Demo:
    process: subprocess.Popen[str]
    errors: Path
    printed: str
    seconds: float

    @property
    def base_url(self) -> str:
        return re.findall(r"http://[\d.]+:\d+/v1", self.printed)[0]

    @property
    def key(self) -> str:
        return re.findall(r"sk-tw-v1-[0-9A-Za-z]{46}", self.printed)[0]

    @property
    def curl(self) -> str:
        """The command with its continuation lines, as a shell takes it."""
        return self.printed[self.printed.index("curl ") :].rstrip()

    def status(self, key: str) -> int:
        return httpx.get(f"{self.base_url}/key", headers={"authorization": f"Bearer {key}"}, timeout=10).status_code

    def signs_in(self) -> list[str | None]:
        """Where the printed link leads, twice."""
        origin, _, token = re.findall(r"(http://[\d.]+:\d+)(/login/link\?token=)(\S+)", self.printed)[0]
        posts = [httpx.post(f"{origin}/login/link", data={"token": token}, headers={"origin": origin}, timeout=10) for _ in range(2)]
        return [post.headers.get("location") for post in posts]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)


@contextmanager
def demo(folder: Path, port: int) -> Iterator[Demo]:
    started, errors = time.monotonic(), folder / "errors"
    with errors.open("w") as stderr, command(folder, port, stdout=subprocess.PIPE, stderr=stderr) as process:
        try:
            printed = read_until_the_curl(process)
            yield Demo(process, errors, printed, time.monotonic() - started)
        finally:
            process.kill()


def command(folder: Path, port: int, **streams: object) -> "subprocess.Popen[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TOLLWAY_") and not name.endswith("_API_KEY")}
    environment = {**kept, "TOLLWAY_PORT": str(port), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-m", "gateway", "demo"], cwd=folder, env=environment, text=True, **streams)  # type: ignore[call-overload, no-any-return]


def read_until_the_curl(process: "subprocess.Popen[str]") -> str:
    """What the pipe holds when the last word of the curl has come; a demo that does not flush never gets there."""
    assert process.stdout
    printed, until = "", time.monotonic() + READY_SECONDS_MAX
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not printed.rstrip().endswith(" -N"):
            assert selector.select(until - time.monotonic()), f"not ready in {READY_SECONDS_MAX} s: {printed!r}"
            piece = os.read(process.stdout.fileno(), 65536).decode()
            assert piece, f"ended before it was ready: {printed!r}"
            printed += piece
    return printed


def test_the_demo_is_ready_in_seconds_and_its_curl_streams(
    tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    port = free_port()
    with demo(tmp_path, port) as first:
        record_testsuite_property("demo_seconds_until_ready", round(first.seconds, 2))
        assert first.base_url == f"http://127.0.0.1:{port}/v1"
        assert "$5" in first.printed
        assert first.status(first.key) == 200
        assert first.signs_in() == ["/dashboard", None], "the link works once"
        assert_the_curl_streams(first)
        assert_a_second_demo_on_the_port_gives_up(tmp_path, port, first)
        assert first.stop() == 0
        assert not [line for line in first.errors.read_text().splitlines() if " INFO " not in line]
    with demo(tmp_path, port) as second:
        assert second.key != first.key
        assert (second.status(second.key), second.status(first.key)) == (200, 401)
        credits = httpx.get(f"{second.base_url}/credits", headers={"authorization": f"Bearer {second.key}"}, timeout=10).json()["data"]
        assert round(credits["total_credits"] - credits["total_usage"], 9) == 5
        assert second.stop() == 0
        assert "Traceback" not in second.errors.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".tollway", "errors"]


def assert_the_curl_streams(running: Demo) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl on this machine")
    done = subprocess.run(["sh", "-c", running.curl], capture_output=True, text=True, timeout=30, check=True)
    *lines, end = [line.removeprefix("data: ") for line in done.stdout.splitlines() if line]
    chunks = [json.loads(line) for line in lines]
    assert end == "[DONE]"
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks) == "Hello, Tollway!"
    assert len(chunks) > 3
    assert chunks[-1]["usage"]["cost"] > 0


def assert_a_second_demo_on_the_port_gives_up(folder: Path, port: int, running: Demo) -> None:
    with command(folder, port, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        printed, errors = process.communicate(timeout=20)
    assert (process.returncode, printed) == (1, "")
    assert re.fullmatch(rf"tollway: cannot listen on 127\.0\.0\.1 port {port}: .*in use.*TOLLWAY_PORT\n", errors)
    assert running.status(running.key) == 200, "the key of the demo that runs outlives one that cannot start"
