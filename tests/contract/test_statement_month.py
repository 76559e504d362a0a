"""A month on a page is what the whole statement says of it, to the nano-dollar, wherever the adding up has come to."""

import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from sqlalchemy import insert, text
from sqlmodel import Session

from metering import ledger, rollups, seal, statement, statement_month, usage_view
from metering.database import Database
from metering.errors import UnknownAccount
from metering.periods import period
from metering.rollups import DAY_MS
from metering.statement import Line
from metering.tables import Entry
from tests import books

MONTHS = [period("monthly", books.START + number * 31 * DAY_MS) for number in range(-1, 4)]
END = MONTHS[3][1]
MARGIN = 2 * DAY_MS


@pytest.fixture
async def database(migrated_database_url: str) -> AsyncIterator[Database]:
    async with books.opened(migrated_database_url) as database:
        for account_id in ("acc", "other"):
            await books.fund(database, account_id, 10**12)
        yield database


def charges(session: Session, account_id: str, draw: random.Random, first: int, count: int, *, since: int, until: int) -> list[str]:
    """Writes so many charges at moments that are drawn, some of them at the very edges of days and months; their ids."""
    edges = [edge + step for start, end in MONTHS for edge in (start, end) for step in (-1, 0, 1) if since <= edge + step < until]
    rows: list[dict[str, Any]] = []
    for number in range(first, first + count):
        at = draw.choice(edges) if edges and draw.random() < 0.3 else draw.randrange(since, until)
        leg = {"transaction_id": f"gen_{account_id}_{number:04}", "account_id": account_id, "kind": "charge", "at": at, "leg": 0}
        rows.append({**leg, "amount": -draw.randrange(1, 10**7), "reason": None})
    session.connection().execute(insert(Entry), rows)
    session.connection().execute(
        insert(Entry), [{**row, "leg": 1, "account_id": "house:revenue", "amount": -row["amount"]} for row in rows]
    )
    spent = {"sum": sum(row["amount"] for row in rows), "id": account_id}
    session.connection().execute(text("UPDATE account SET posted = posted + :sum WHERE id = :id"), spent)
    return [row["transaction_id"] for row in rows]


async def check(database: Database) -> None:
    for start, end in MONTHS:
        found = await database.read(statement_month.month, "acc", start=start, end=end)
        assert found is not None
        async with aclosing(statement.lines(database, "acc", start=start, end=end)) as pages:
            lines = [line async for page in pages for line in page]
        assert (found.opening, found.closing) == (lines[0].balance, lines[-1].balance)
        assert found.lines == lines[1:-1][: statement_month.ROWS]
        assert found.more == (len(lines) - 2 > statement_month.ROWS)
        assert (found.charged, found.other) == sums(lines)
        assert found.opening + sum(found.other.values()) - found.charged == found.closing
    last = await database.read(statement_month.month, "acc", start=MONTHS[-1][0], end=MONTHS[-1][1])
    assert last is not None
    assert last.closing == (await database.read(ledger.balance, "acc")).available


def sums(lines: list[Line]) -> tuple[int, dict[str, int]]:
    other: dict[str, int] = {}
    for line in lines[1:-1]:
        if line.kind != "charge":
            other[line.kind] = other.get(line.kind, 0) + (line.amount or 0)
    return -sum(line.amount or 0 for line in lines[1:-1] if line.kind == "charge"), other


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_month_is_what_the_whole_statement_says(database: Database, seed: int) -> None:
    draw = random.Random(seed)
    moments = (draw.randrange(books.START, MONTHS[1][1]), MONTHS[2][0], MONTHS[2][1] - 1, MONTHS[3][0] + 1)
    for number, now in enumerate(moments):
        amount = draw.randrange(-(10**9), 10**9)
        await database.write(books.move, id=f"mov_{number}", account_id="acc", amount=amount, now=now)
    since = books.START
    await check(database)
    added = await database.write(charges, "acc", draw, 0, 300, since=since, until=END)
    await database.write(charges, "other", draw, 0, 20, since=since, until=END)
    await check(database)
    await database.write(seal.seal, added, now=END)
    await check(database)
    await rollups.add_up(database, now=END + MARGIN, rows_max=100)
    await check(database)
    late = await database.write(charges, "acc", draw, 300, 30, since=END - usage_view.LATE_MS // 2, until=END)
    await check(database)
    await database.write(seal.seal, late, now=END)
    await check(database)


async def test_with_too_much_to_add_up_nothing_is_said_rather_than_something_wrong(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage_view, "LIVE_MAX", 50)
    draw = random.Random(3)
    added = await database.write(charges, "acc", draw, 0, 120, since=books.START, until=END)
    await database.write(seal.seal, added, now=END)
    start, end = MONTHS[2]
    assert await database.read(statement_month.month, "acc", start=start, end=end) is None
    await rollups.add_up(database, now=END + MARGIN, rows_max=100)
    await check(database)


async def test_an_account_that_is_not_there_has_no_month(database: Database) -> None:
    with pytest.raises(UnknownAccount):
        await database.read(statement_month.month, "nobody", start=MONTHS[0][0], end=MONTHS[0][1])
