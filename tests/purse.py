"""One account whose credits tests add, charge, take back, refund and let expire, on one database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakKeyDictionary

from sqlmodel import Session, col, update

from metering import credits, ledger
from metering.batch import Held, Refused
from metering.database import Database
from metering.generations import remember_prices
from metering.ledger import Ledger
from metering.price import Price
from metering.tables import Hold
from metering.usage import Usage
from metering.verify import verify
from tests import books

NOW = books.START
DAY = 86_400_000
UNIT = Price(prompt=0, completion=1000)
INT64 = 2**63 - 1
LEDGERS: WeakKeyDictionary[Database, Ledger] = WeakKeyDictionary()
GIFT = {"kind": "promotional", "refundable": False}


@asynccontextmanager
async def purse(url: str) -> AsyncIterator[Database]:
    """An empty account, `acc`; afterwards the books are right, whatever happened."""
    async with books.opened(url) as database:
        await books.fund(database, "acc", 0)
        await database.write(remember_prices, {UNIT.id: UNIT}, NOW)
        yield database
        checks = await database.read(verify, now=NOW)
        assert [check for check in checks if not check.ok] == []


async def add(database: Database, id: str, amount: int, **given: Any) -> bool:
    given = {"account_id": "acc", "reason": "test", "now": NOW, **given}
    return await database.write(lambda session: credits.add(session, id=id, amount=amount, **given))


async def take_back(database: Database, id: str, amount: int, *, now: int = NOW) -> None:
    await database.write(credits.take_back, id=id, account_id="acc", amount=amount, reason="test", now=now)


async def refund(database: Database, id: str, amount: int | None = None, *, now: int = NOW) -> int:
    return await database.write(credits.refund, id=id, account_id="acc", amount=amount, reason="test", now=now)


async def expire(database: Database, now: int) -> int:
    return await database.write(credits.expire, account_id="acc", now=now)


async def hold(database: Database, id: str, amount: int, *, at: int = NOW) -> Held | Refused:
    """`at`: when it was made; the database puts its own time."""
    outcome = await _ledger(database).hold(id, account_id="acc", limits=(), amount=amount)
    await database.write(_dated, id, at)
    return outcome


def _ledger(database: Database) -> Ledger:
    """One for each database, as in a serving process."""
    return LEDGERS.setdefault(database, Ledger(database, "boot_1"))


def _dated(session: Session, id: str, at: int) -> None:
    session.connection().execute(update(Hold).where(col(Hold.id) == id).values(created_at=at))


async def settle(database: Database, id: str, charge: int, *, held: int) -> None:
    row = books.generation(id, "acc", usage=Usage(completion=charge), price=UNIT)
    closed = await _ledger(database).settle(id, charge=charge, held=held, generation=row)
    assert closed.charge == charge


async def charge(database: Database, id: str, amount: int) -> None:
    await hold(database, id, amount)
    await settle(database, id, amount, held=amount)


async def remaining(database: Database) -> dict[str, int]:
    return {row.id: row.remaining for row in await database.read(credits.listed, "acc")}


async def available(database: Database) -> int:
    return (await database.read(ledger.balance, "acc")).available
