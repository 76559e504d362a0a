"""The bans of `bans.py`, held over the four packages, and shown to catch what they forbid."""

import ast
import re
from collections.abc import Callable, Collection, Iterator

import pytest

from tests.tidy import bans
from tests.tidy.tree import PACKAGES, ROOT, SOURCES, files, listed, place, python_files, tree

Ban = Callable[[ast.Module], Iterator[ast.AST]]

# The edges where any error must become an answer, and why.
BROAD_HANDLERS_ALLOWED = {
    "gateway/api/inference.py": "the HTTP edge: every refusal becomes JSON with its status",
    "gateway/pipeline.py": "the owner task of a generation: whatever was not foreseen is a 500, and is looked at",
    "gateway/lifeline.py": "a worker loop: a heartbeat that stops would fence a healthy process",
    "gateway/workers.py": "worker loops: a chore that fails must neither stop the others nor its own next round",
    "metering/commit.py": "a batch: one impossible row must not take its neighbours with it",
    "metering/worker.py": "a thread: whatever its work raises belongs to the one who waits for it",
}
UNFINISHED = re.compile(r"\b(" + "|".join(("FIX" + "ME", "TO" + "DO", "X" * 3)) + r")\b")


def test_money_is_never_a_float() -> None:
    assert not _offences(bans.floats, "metering")


def test_only_settings_reads_the_environment() -> None:
    assert not _offences(bans.environment, *PACKAGES, "migrations", allowed={"gateway/settings.py"})


def test_the_gateway_holds_no_sql() -> None:
    assert not _offences(bans.sql, "gateway")


def test_nothing_runs_code_from_data_or_starts_programs() -> None:
    assert not _offences(bans.dynamic_code, *PACKAGES)


def test_only_the_edges_catch_every_error() -> None:
    assert not _offences(bans.broad_handlers, *PACKAGES, "migrations", allowed=BROAD_HANDLERS_ALLOWED)


def test_nothing_is_marked_as_unfinished() -> None:
    texts = [*files(*SOURCES, "deploy"), ROOT / "Makefile", ROOT / "pyproject.toml"]
    marked = [
        f"{place(path)}:{number}"
        for path in texts
        if path.suffix in {".py", ".toml", ".html", ".js", ".css", ".yaml", ".mjs", ""}
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1)
        if UNFINISHED.search(line)
    ]
    assert not listed(marked)


@pytest.mark.parametrize(
    ("ban", "code"),
    [
        (bans.floats, "x = 0.5"),
        (bans.floats, "x = float(y)"),
        (bans.floats, "x = total / count"),
        (bans.floats, "x /= 2"),
        (bans.environment, "import os\nx = os.environ['A']"),
        (bans.environment, "from os import getenv"),
        (bans.sql, "q = 'SELECT a FROM b WHERE c = 1'"),
        (bans.sql, "q = f'update {table}' + 'x'\nr = '''\n  delete from keys'''"),
        (bans.sql, "from sqlalchemy import text"),
        (bans.dynamic_code, "from subprocess import run"),
        (bans.dynamic_code, "eval('1')"),
        (bans.broad_handlers, "try:\n  f()\nexcept Exception:\n  pass"),
        (bans.broad_handlers, "try:\n  f()\nexcept:\n  pass"),
        (bans.broad_handlers, "try:\n  f()\nexcept (KeyError, BaseException) as e:\n  raise ValueError from e"),
    ],
)
def test_a_ban_catches_what_it_forbids(ban: Ban, code: str) -> None:
    assert list(ban(ast.parse(code)))


@pytest.mark.parametrize(
    ("ban", "code"),
    [
        (bans.floats, "x = total // count\nfile = folder / 'name' / f'{x}'"),
        (bans.environment, "x = settings.environ"),
        (bans.sql, "'''SELECT a FROM b'''\nx = 'Select a model from the list'\ny = 'select'"),
        (bans.dynamic_code, "session.exec(statement)\nevaluate(x)"),
        (bans.broad_handlers, "try:\n  f()\nexcept BaseException:\n  close()\n  raise"),
    ],
)
def test_a_ban_lets_its_lookalikes_pass(ban: Ban, code: str) -> None:
    assert not list(ban(ast.parse(code)))


def _offences(ban: Ban, *folders: str, allowed: Collection[str] = ()) -> str:
    return listed(place(path, node) for path in python_files(*folders) if place(path) not in allowed for node in ban(tree(path)))
