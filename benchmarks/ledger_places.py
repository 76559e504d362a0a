"""Where a ledger is measured: a durable database of each kind, with a fresh, migrated database for every part of the run."""

import asyncio
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import asyncpg

from benchmarks import gateways, processes
from metering.database import connect_sqlite
from tests import servers

NO_DISK_S = 5e-6  # an fsync that is faster than this has reached no disk
BLOCK = b"x" * 8192
TEMPLATE = "ledger_template"


@dataclass(frozen=True)
class Place:
    """`fresh()` gives the URL of an empty database; `cpu` reads the CPU seconds of the database's processes; `on`: what was on."""

    key: str
    name: str
    on: str
    fresh: Callable[[], AbstractContextManager[str]]
    cpu: Callable[[], float]


@contextmanager
def sqlite() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="tollway-ledger-") as folder:
        template = Path(folder) / "template.db"
        migrate(f"sqlite:///{template}")

        @contextmanager
        def fresh() -> Iterator[str]:
            with tempfile.TemporaryDirectory(dir=folder) as own:
                shutil.copy(template, Path(own) / "tollway.db")
                yield f"sqlite:///{own}/tollway.db"

        connection = connect_sqlite(str(template))
        mode, level = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous"))
        connection.close()
        on = f"SQLite {sqlite3.sqlite_version}, journal_mode={mode}, synchronous={level} (2 is FULL)"
        yield Place(key="sqlite", name="SQLite", on=on, fresh=fresh, cpu=lambda: 0.0)


@contextmanager
def postgres() -> Iterator[Place]:
    before = set(processes.with_children(os.getpid()))
    with servers.postgres(durable=True) as server:
        [leader] = set(processes.with_children(os.getpid())) - before
        servers.create_database(server, name=TEMPLATE)
        migrate(servers.database_url(server, name=TEMPLATE))
        yield Place(
            key="postgres",
            name="Postgres",
            on=asyncio.run(settings(server)),
            fresh=lambda: servers.database(server, template=TEMPLATE),
            cpu=lambda: processes.cpu_seconds(processes.with_children(leader)),
        )


PLACES: dict[str, Callable[[], AbstractContextManager[Place]]] = {"sqlite": sqlite, "postgres": postgres}


def migrate(url: str) -> None:
    gateways.prepare([sys.executable, "-m", "gateway", "migrate"], {"TOLLWAY_DATABASE_URL": url})


async def settings(url: str) -> str:
    """As the server itself states them."""
    connection = await asyncpg.connect(url)
    try:
        names = ("fsync", "synchronous_commit", "full_page_writes", "shared_buffers")
        said = [f"{name}={await connection.fetchval(f'SHOW {name}')}" for name in names]
        return f"PostgreSQL {await connection.fetchval('SHOW server_version')}, {', '.join(said)}"
    finally:
        await connection.close()


def fsync_seconds() -> list[float]:
    """Of 200 appended blocks, sorted. ValueError where the folder for temporary files is on no disk: then nothing would be measured."""
    found = []
    with tempfile.TemporaryFile(buffering=0) as file:
        for _ in range(200):
            file.write(BLOCK)
            start = perf_counter()
            os.fdatasync(file.fileno())
            found.append(perf_counter() - start)
    found.sort()
    if found[100] < NO_DISK_S:
        raise ValueError(f"{tempfile.gettempdir()} is on no disk (fsync takes no time there): set TMPDIR to a folder on a disk")
    return found
