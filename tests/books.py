"""Books for tests of the ledger: an open database, rows of generations, and raw SQL for what no function of ours would do."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config
from sqlmodel import Session

from metering import credits, generations, ledger
from metering.batch import Column
from metering.database import Database, open_database
from metering.price import Cost, Price, cost
from metering.usage import Usage

START = 1_760_000_000_000
PRICE = Price(prompt=75_003, completion=300_007)
USAGE = Usage(prompt=1234, completion=567)
COST = cost(USAGE, PRICE)
FREE = Cost(0, 0, 0, ())


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    """The database at `url` with one boot, which is what a serving process begins with."""
    async with connected(url) as database:
        await database.write(_begin)
        yield database


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Database]:
    """The database at `url`, for instance once more: another process, as far as it can tell."""
    database = open_database(url)
    try:
        yield database
    finally:
        await database.aclose()


def _begin(session: Session) -> None:
    ledger.start_boot(session, id="boot_1", now=START)
    generations.remember_prices(session, {PRICE.id: PRICE}, START)


async def fund(database: Database, account_id: str, amount: int) -> None:
    """An account with `amount` nano-USD in it."""

    def work(session: Session) -> None:
        ledger.open_account(session, id=account_id, now=START)
        if amount:
            credits.add(session, id=f"dep_{account_id}", account_id=account_id, amount=amount, reason="test", now=START)

    await database.write(work)


def move(session: Session, *, id: str, account_id: str, amount: int, now: int) -> None:
    """Adds credit, or takes it back if `amount` is negative."""
    if amount < 0:
        credits.take_back(session, id=id, account_id=account_id, amount=-amount, reason="test", now=now)
    else:
        credits.add(session, id=id, account_id=account_id, amount=amount, reason="test", now=now)


async def limit(database: Database, id: str, amount: int, *, reset: str | None = None, now: int = START) -> None:
    await database.write(ledger.open_limit, id=id, amount=amount, reset=reset, now=now)


def generation(id: str, account_id: str, *, usage: Usage = USAGE, price: Price = PRICE) -> dict[str, Column]:
    """The row of a generation that used `usage`; nothing used means that it was free."""
    spent = FREE if usage == Usage() else cost(usage, price)
    record = generations.Record(
        id=id, account_id=account_id, key_id="key_1", created_at=START, model="maker/model", provider="maker", endpoint="maker-1",
        price_id=price.id, api_type="completions", streamed=True, outcome="completed", finish_reason="stop", native_finish_reason=None,
        error_type=None, upstream_id=None, usage_source="provider", held=0, first_byte_ms=5, duration_ms=9, attempts=[], origin=None,
        title=None,
    )  # fmt: skip
    return generations.row(record, usage, spent)


async def sql(url: str, *statements: str) -> list[tuple[object, ...]]:
    """Runs statements past every function of ours, on SQLite without CHECK constraints; returns the rows of the last one."""
    if url.startswith("sqlite:///"):
        return _on_sqlite(url.removeprefix("sqlite:///"), statements)
    connection = await asyncpg.connect(url)
    try:
        rows = [await connection.fetch(statement) for statement in statements]
    finally:
        await connection.close()
    return [tuple(row) for row in rows[-1]]


def _on_sqlite(path: str, statements: tuple[str, ...]) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path, isolation_level=None, timeout=10)
    try:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        return [connection.execute(statement).fetchall() for statement in statements][-1]
    finally:
        connection.close()


def migrate(session: Session, revision: str) -> None:
    """To an older revision than the newest, for books that a later one must open."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent.parent / "migrations"))
    config.attributes["connection"] = session.connection()
    command.upgrade(config, revision)
