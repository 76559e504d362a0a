"""Fixtures for every test: private servers, started when a test first asks for one, and a database of its own for each test."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests import servers, warm

BACKENDS = ("sqlite", "postgres")


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server for the whole run, fast and forgetful; `servers.postgres(durable=True)` is the careful one."""
    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(servers.postgres())
        except servers.MissingServerError as missing:
            _absent(missing)
        yield url


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis server for the whole run; its keys outlive a test, so tests use names of their own."""
    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(servers.redis())
        except servers.MissingServerError as missing:
            _absent(missing)
        yield url


@pytest.fixture(params=BACKENDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        yield _sqlite_url(tmp_path / "tollway.db")
        return
    with servers.database(request.getfixturevalue("postgres_url")) as url:
        yield url


@pytest.fixture(params=BACKENDS)
def migrated_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database with the newest schema and no rows but those the migrations put there: a copy, so it costs no migration."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "tollway.db")
        yield _sqlite_url(tmp_path / "tollway.db")
        return
    template = request.getfixturevalue("postgres_template")
    with servers.database(request.getfixturevalue("postgres_url"), template=template) as url:
        yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, to be copied."""
    file = tmp_path_factory.mktemp("template") / "tollway.db"
    _migrate(_sqlite_url(file))
    return file


@pytest.fixture(scope="session")
def postgres_template(postgres_url: str) -> str:
    """The name of a migrated database on the server of `postgres_url`, to be copied."""
    name = "tollway_template"
    servers.create_database(postgres_url, name=name)
    _migrate(servers.database_url(postgres_url, name=name))
    return name


def _migrate(database_url: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TOLLWAY_")}
    environment["TOLLWAY_DATABASE_URL"] = database_url
    done = warm.run(("migrate",), environment, seconds=100)
    if done.returncode:
        pytest.fail(f"`tollway migrate` failed on {database_url}:\n{done.stdout}{done.stderr}")


def _sqlite_url(file: Path) -> str:
    return f"sqlite:///{file}"


def _absent(missing: servers.MissingServerError) -> NoReturn:
    """A laptop may lack a server; where every test counts, that is an error."""
    if os.environ.get("CI"):
        pytest.fail(str(missing))
    pytest.skip(str(missing))
