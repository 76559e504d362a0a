"""The database goes away under load and comes back: no end of a hold is lost, none is charged twice, and holds are refused meanwhile."""

import asyncio
import contextlib
import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from metering.batch import SETTLED, Closed, Held, HoldJob, Refused
from metering.database import Database
from metering.errors import DatabaseUnavailable
from metering.ledger import Balance, Ledger, balance
from metering.money import now_ms
from metering.verify import verify
from tests import books, servers

PRICE = books.COST.charge
GENERATIONS = 400
Fault = Callable[[], Awaitable[None]]


@pytest.fixture
def url(postgres_url: str, postgres_template: str) -> Iterator[str]:
    with servers.database(postgres_url, template=postgres_template) as url:
        yield url


@pytest.fixture
def sqlite_copy(sqlite_template: Path, tmp_path: Path) -> str:
    shutil.copy(sqlite_template, tmp_path / "tollway.db")
    return f"sqlite:///{tmp_path}/tollway.db"


class Link:
    """A TCP way to a server that can be cut: open connections break, new ones are refused."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = servers.free_port()

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._target)
        for source, sink in ((reader, back), (there, writer)):
            self._writers.add(sink)
            task = asyncio.create_task(self._copy(source, sink))
            self._tasks.add(task)

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                sink.write(data)
                await sink.drain()
        sink.transport.abort()


@asynccontextmanager
async def _linked(url: str) -> AsyncIterator[tuple[str, Link]]:
    parts = urlsplit(url)
    link = Link(str(parts.hostname), int(parts.port or 0))
    await link.mend()
    try:
        yield parts._replace(netloc=f"postgres@127.0.0.1:{link.port}").geturl(), link
    finally:
        await link.cut()


async def _generate(ledger: Ledger, id: str, refused: list[str]) -> Closed:
    """Holds until it succeeds, as a client that tries again would, and settles once, above the hold."""
    while True:
        try:
            assert isinstance(await ledger.hold(id, account_id="acc", limits=(), amount=PRICE - 7), Held)
            break
        except DatabaseUnavailable:
            refused.append(id)
            await asyncio.sleep(0.02)
    return await ledger.settle(id, charge=PRICE, held=PRICE - 7, generation=books.generation(id, "acc"))


async def _under_load(database: Database, fault: Fault) -> int:
    """Every generation is charged once, whatever `fault` does meanwhile; how many holds were refused."""
    refused: list[str] = []
    ledger = Ledger(database, "boot_1")

    async def later(number: int) -> Closed:
        await asyncio.sleep(number / 500)
        return await _generate(ledger, f"gen_{number}", refused)

    load = [asyncio.create_task(later(number)) for number in range(GENERATIONS)]
    await fault()
    async with asyncio.timeout(30):
        closed = await asyncio.gather(*load)
    assert {(each.charge, each.state) for each in closed} == {(PRICE, SETTLED)}
    return len(refused)


async def _assert_charged_once(database: Database) -> None:
    funds = 2 * GENERATIONS * PRICE
    expected = Balance(credits=funds, usage=GENERATIONS * PRICE, held=0, available=funds - GENERATIONS * PRICE)
    assert await database.read(balance, "acc") == expected
    assert [check for check in await database.read(verify, now=now_ms()) if not check.ok] == []


async def test_no_settle_is_lost_or_doubled_while_the_server_ends_our_connections(url: str) -> None:
    async def terminate() -> None:
        connection = await asyncpg.connect(url)
        for _ in range(8):
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await asyncio.sleep(0.06)
        await connection.close()

    async with books.opened(url) as database:
        await books.fund(database, "acc", 2 * GENERATIONS * PRICE)
        await _under_load(database, terminate)
        await _assert_charged_once(database)


async def test_no_settle_is_lost_or_doubled_while_the_server_cannot_be_reached(url: str) -> None:
    async with _linked(url) as (linked_url, link), books.opened(linked_url) as database:
        await books.fund(database, "acc", 2 * GENERATIONS * PRICE)

        async def outages() -> None:
            for _ in range(3):
                await asyncio.sleep(0.15)
                await link.cut()
                await asyncio.sleep(0.1)
                await link.mend()

        assert await _under_load(database, outages) > 0
        await _assert_charged_once(database)


@asynccontextmanager
async def _locked(url: str, statement: str) -> AsyncIterator[asyncpg.Connection]:
    """Another process in the middle of a transaction that has changed the account; it commits at the end."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute(statement)
            yield connection
    finally:
        await connection.close()


HOLD = HoldJob(id="gen_1", account_id="acc", limits=(), amount=PRICE, boot_id="boot_1")


@pytest.mark.parametrize("end", ["pg_terminate_backend", "pg_cancel_backend"])
async def test_a_batch_that_the_server_ends_says_that_the_database_is_away(url: str, end: str) -> None:
    async with books.opened(url) as database:
        await books.fund(database, "acc", PRICE)
        async with _locked(url, "UPDATE account SET held = held") as other:
            hold = asyncio.create_task(database.commit([HOLD]))
            await _waiting(other)
            await other.execute(f"SELECT {end}(pid) FROM pg_locks WHERE NOT granted")
            with pytest.raises(DatabaseUnavailable):
                await hold
        assert await database.commit([HOLD]) == [Held(PRICE)]


async def test_room_that_another_process_makes_meanwhile_can_be_held(url: str) -> None:
    async with books.opened(url) as database:
        await books.fund(database, "acc", PRICE)
        await books.sql(url, "UPDATE account SET held = 1000")
        async with _locked(url, "UPDATE account SET held = 0") as other:
            hold = asyncio.create_task(database.commit([HOLD]))
            await _waiting(other)
        assert await hold == [Held(PRICE)]
        assert await database.read(balance, "acc") == Balance(credits=PRICE, usage=0, held=PRICE, available=0)


async def test_room_that_another_process_takes_meanwhile_is_gone(url: str) -> None:
    async with books.opened(url) as database:
        await books.fund(database, "acc", PRICE)
        async with _locked(url, "UPDATE account SET held = 1000") as other:
            hold = asyncio.create_task(database.commit([HOLD]))
            await _waiting(other)
        assert await hold == [Refused("acc", PRICE - 1000, 1000)]


async def _waiting(connection: asyncpg.Connection) -> None:
    """Until the batch waits for the lock."""
    query = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    async with asyncio.timeout(10):
        while not await connection.fetchval(query):
            await asyncio.sleep(0.01)


async def test_plain_functions_say_that_the_database_is_away(url: str) -> None:
    async with _linked(url) as (linked_url, link), books.opened(linked_url) as database:
        await books.fund(database, "acc", 1)
        await link.cut()
        with pytest.raises(DatabaseUnavailable):
            await database.read(balance, "acc")
        await link.mend()
        assert (await database.read(balance, "acc")).credits == 1


async def test_a_settle_waits_for_a_file_that_somebody_else_has_locked(sqlite_copy: str) -> None:
    async with books.opened(sqlite_copy) as database:
        await books.fund(database, "acc", 2 * PRICE)
        ledger = Ledger(database, "boot_1")
        await ledger.hold("gen_1", account_id="acc", limits=(), amount=1000)
        other = sqlite3.connect(sqlite_copy.removeprefix("sqlite:///"), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        settle = asyncio.create_task(ledger.settle("gen_1", charge=PRICE, held=1000, generation=books.generation("gen_1", "acc")))
        await asyncio.sleep(0.3)
        assert not settle.done()
        other.execute("ROLLBACK")
        other.close()
        assert await settle == Closed(PRICE, SETTLED, True)
