"""Log lines: a closed list of fields, one JSON object per line, and never the text of an exception."""

import ast
import io
import json
import logging
import re
import socket
import subprocess
import sys
import types
import typing
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway import analytics, logs
from gateway.errors import Problem, log_unforeseen
from tests.running import tollway

ROOT = Path(__file__).resolve().parent.parent.parent
CANARY = "canary-of-a-prompt"
RECORD = set(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime", "taskName"}


@pytest.fixture(params=logs.FORMATS)
def lines(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """What all loggers write, in each format."""
    written, root = io.StringIO(), logging.getLogger()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logs.Json() if request.param == "json" else logs.Text())
    root.addHandler(handler)
    yield written
    root.removeHandler(handler)


def broken(secret: str = CANARY) -> None:
    local = secret * 2
    raise ValueError(f"cannot read {local}")


def caught() -> ValueError:
    with pytest.raises(ValueError, match="cannot") as found:
        broken()
    return found.value


@pytest.mark.parametrize("logger", ["tollway.http", "somebody.elses"])
def test_a_message_that_does_not_fit_its_arguments_shows_none_of_them(logger: str) -> None:
    program = f"""
from gateway import logs
import logging
logs.install("json")
logging.getLogger({logger!r}).warning("%d items", "-".join(["canary", "of", "a", "prompt"]))
logging.getLogger({logger!r}).warning("after")
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert [json.loads(line)["message"] for line in done.stderr.splitlines()] == ["%d items", "after"]


def test_every_line_of_json_has_declared_fields_only(capsys: pytest.CaptureFixture[str]) -> None:
    record = logging.LogRecord("tollway.http", logging.ERROR, "", 0, "it is %s", ("so",), None)
    record.__dict__ |= {"generation_id": "gen-1", "prompt": CANARY, "user": CANARY, "args_of_a_call": {"a": CANARY}}
    line = logs.Json().format(record)
    assert "\n" not in line
    said = json.loads(line)
    assert list(said) == [name for name in logs.FIELDS if name in said]
    assert said.pop("time").endswith("Z")
    assert said == {"level": "ERROR", "logger": "tollway.http", "message": "it is so", "generation_id": "gen-1"}


def test_the_code_gives_no_field_that_is_not_in_the_list() -> None:
    given = [
        (path, key.value)
        for package in ("gateway", "policy", "providers", "metering")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.keyword) and node.arg == "extra" and isinstance(node.value, ast.Dict)
        for key in node.value.keys
        if isinstance(key, ast.Constant)
    ]
    assert given
    assert [each for each in given if each[1] not in logs.EXTRA] == []
    assert not set(logs.EXTRA) & RECORD


def test_an_exception_is_its_class_and_lines_of_code(lines: io.StringIO) -> None:
    logging.getLogger("tollway.test").error("it failed", exc_info=caught())
    log_unforeseen(Problem(500, "Internal error"), caught(), "gen-1-abc")
    logging.getLogger("asyncio").error(f"Task exception was never retrieved\nfuture: exception=ValueError('{CANARY}')", exc_info=caught())
    logging.getLogger("uvicorn.error").error("Exception in ASGI application\n", exc_info=caught())
    text = lines.getvalue()
    assert CANARY not in text
    assert text.count("ValueError") >= 1
    assert text.count("raise ValueError(f") == 4
    assert "gen-1-abc: ValueError" in text


@pytest.mark.parametrize(
    ("message", "arguments", "shown"),
    [
        ("retrying in %.1f s after %s", (1.5, CANARY), "retrying in 1.5 s after ..."),
        ("%s of %s", ({"a": CANARY}, 3), "... of 3"),
        ("%(name)s failed", ({"name": CANARY},), "%(name)s failed"),
        ("one\ntwo " + CANARY, (), "one"),
        (ValueError(CANARY), (), "ValueError"),
        ("", (), ""),
    ],
)
def test_of_a_librarys_message_only_the_frame_is_shown(lines: io.StringIO, message: Any, arguments: tuple[Any, ...], shown: str) -> None:
    logging.getLogger("somebody.elses").warning(message, *arguments)
    written = lines.getvalue().strip()
    assert CANARY not in written
    assert (json.loads(written)["message"] if written.startswith("{") else written.partition("somebody.elses ")[2]) == shown


@pytest.mark.parametrize("log_format", logs.FORMATS)
@pytest.mark.parametrize(
    "how",
    [
        "raise ValueError(secret)",
        "import threading; t = threading.Thread(target=boom); t.start(); t.join(); raise SystemExit(1)",
        "import asyncio\nasync def main():\n    t = asyncio.create_task(aboom()); await asyncio.sleep(0.01)\nasyncio.run(main()); exit(1)",
    ],
)
def test_what_nobody_caught_is_logged_without_its_text(log_format: str, how: str) -> None:
    program = f"""
from gateway import logs
logs.install({log_format!r})
secret = "-".join(["canary", "of", "a", "prompt"])
def boom(): raise ValueError(secret)
async def aboom(): boom()
{how}
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert CANARY not in done.stdout + done.stderr
    if log_format == "json":
        (said,) = [json.loads(line) for line in done.stderr.splitlines()]
        assert said["error_class"] == "ValueError"
        assert "line" in said["traceback"]


def test_a_server_writes_json_from_its_first_line_to_its_last(tmp_path: Path) -> None:
    settings = {"TOLLWAY_DATABASE_URL": f"sqlite:///{tmp_path}/t.db", "TOLLWAY_LOG_FORMAT": "json", "TOLLWAY_CHORES": "on"}
    with tollway(settings, tmp_path) as running:
        running.account()
        running.kill()
        running.start()
        with socket.create_connection(("127.0.0.1", running.port), timeout=10) as garbage:
            garbage.sendall(b"\x00\r\n\r\n")
            garbage.recv(1024)
        assert running.stop() == 0
    written = [line for line in running.log.read_text().splitlines() if not line.startswith("Tollway serves ")]
    assert any(json.loads(line)["logger"] == "uvicorn.error" for line in written)
    for line in written:
        said = json.loads(line)
        assert set(said) <= set(logs.FIELDS)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", said["time"])


# Analytics


def test_every_field_of_an_event_is_a_figure_or_an_enum() -> None:
    for event in analytics.EVENTS:
        assert issubclass(event, msgspec.Struct)
        for name, kind in typing.get_type_hints(event).items():
            assert not isinstance(kind, types.UnionType), name
            assert kind in (int, bool) or issubclass(kind, Enum), name
