"""What customers' own provider keys used, at list price to the nano: per API key and period, per day, and in the export."""

from collections.abc import AsyncIterator
from decimal import ROUND_FLOOR, Decimal
from typing import Any

import pytest
from sqlalchemy import insert
from sqlmodel import Session

from metering import daily, exports, generations, own_use
from metering.database import Database
from metering.exports import GENERATION_COLUMNS
from metering.price import Price, listed
from metering.tables import Generation
from metering.usage import Usage
from policy import key_facts, key_use
from policy.key_use import NO_USE, Spent
from policy.tables import Key
from tests import books

DAY = 86_400_000
NOW = 1_760_054_400_000 + 3_600_000
"""Friday 2025-10-10, one in the morning, UTC."""
MIDNIGHT, MONDAY, MONTH = NOW - 3_600_000, NOW - 3_600_000 - 4 * DAY, NOW - 3_600_000 - 9 * DAY
LIST = Price(prompt=153_701, completion=617_903, request=1_000_001)
CHEAP = Price(prompt=7, completion=11)
FEE = LIST.shared(525)
FREE = CHEAP.shared(0)
RATES = {FEE.id: (Decimal("0.000000153701"), Decimal("0.000000617903"), Decimal("0.000001000001")),
         FREE.id: (Decimal("0.000000000007"), Decimal("0.000000000011"), Decimal(0))}  # fmt: skip
"""USD per prompt token, per completion token and per request, by hand."""


def row(id: str, created_at: int, price: Price = FEE, key_id: str = "key_1", usage: Usage | None = None, **more: Any) -> dict[str, Any]:
    made = books.generation(id, "acc", usage=usage or Usage(prompt=1234, completion=567), price=price)
    return {**made, "created_at": created_at, "key_id": key_id, "own_key_id": "pk_1", **more}


ROWS = [
    row("ever", MONTH - 1), row("month", MONTH, FREE), row("week", MONDAY), row("before", MIDNIGHT - 1, FREE), row("day", MIDNIGHT),
    row("now", NOW, usage=Usage(prompt=1, completion=1)), row("other", NOW, key_id="key_2"),
    row("failed", NOW, usage=Usage(), usage_source=None, outcome="failed"),
    row("operators", NOW, LIST, own_key_id=None, charge=7),
]  # fmt: skip


@pytest.fixture
async def database(migrated_database_url: str) -> AsyncIterator[Database]:
    async with books.opened(migrated_database_url) as database:
        await books.fund(database, "acc", 10_000)

        def fill(session: Session) -> None:
            generations.remember_prices(session, {price.id: price for price in (FEE, FREE, LIST)}, NOW)
            session.connection().execute(insert(Generation), ROWS)
            for id in ("key_1", "key_2", "key_3"):
                session.add(Key(id=id, account_id="acc", kind="inference", name=id, digest=id, label="l", created_at=0))

        await database.write(fill)
        yield database


def worth(*ids: str) -> int:
    """Nano-USD of these rows together at list price, rounded down once, in Decimal and by hand."""
    total = Decimal(0)
    for each in (found for found in ROWS if found["id"] in ids):
        prompt, completion, request = RATES[each["price_id"]]
        total += prompt * each["prompt"] + completion * each["completion"] + request
    return int((total * 10**9).to_integral_value(ROUND_FLOOR))


async def test_own_use_is_told_per_key_and_period_at_list_price(database: Database) -> None:
    found = await database.read(own_use.by_key, ["key_1", "key_2", "key_3"], [0, MIDNIGHT, MONDAY, MONTH])
    of_day, of_week = ("day", "now"), ("week", "before", "day", "now")
    assert found == {
        "key_1": [worth("ever", "month", *of_week), worth(*of_day), worth(*of_week), worth("month", *of_week)],
        "key_2": [worth("other")] * 4,
    }
    assert found["key_1"][1] > 0
    assert await database.read(own_use.by_key, ["key_1"], [NOW + 1]) == {"key_1": [0]}


async def test_a_key_shows_what_was_charged_and_what_its_customer_s_keys_used(database: Database) -> None:
    def seen(session: Session) -> list[key_use.Seen]:
        return key_use.seen(session, [session.get_one(Key, id) for id in ("key_3", "key_1")], now=NOW)

    unused, used = await database.read(seen)
    assert (unused.use, unused.limit) == (NO_USE, None)
    assert used.use.charged == Spent(7, 7, 7, 7), "rows of own keys were charged nothing in this test"
    of_week = ("week", "before", "day", "now")
    assert used.use.own == Spent(worth("ever", "month", *of_week), worth("day", "now"), worth(*of_week), worth("month", *of_week))
    assert used.use.last_used_at == NOW


@pytest.mark.parametrize("key_id", [None, "key_1", "key_2", "key_3"])
async def test_daily_sums_tell_own_use_apart_and_take_one_key(database: Database, key_id: str | None) -> None:
    group = ("own_key_id", "price_id", "usage_source")
    found = daily.sums(database, "acc", start=0, end=NOW + 1, group=group, key_id=key_id)
    pico, requests = 0, 0
    rates = await database.read(own_use.prices, {FEE.id, FREE.id})
    async for _, groups in found:
        for (own, price_id, source), sums in groups.items():
            requests += sums.requests
            pico += listed(sums.units, sums.requests, rates[price_id]) if own and source and price_id else 0
    wanted = [each["id"] for each in ROWS if key_id in (None, each["key_id"])]
    answered = [id for id in wanted if id not in ("failed", "operators")]
    assert (requests, pico // 1000) == (len(wanted), worth(*answered))


async def test_the_export_names_the_own_key_of_each_generation(database: Database) -> None:
    pages = exports.generations(database, "acc", start=0, end=NOW + 1, keys_named=key_facts.named)
    names = [column.name for column in GENERATION_COLUMNS]
    found = [dict(zip(names, line, strict=True)) async for page in pages for line in page]
    assert {each["id"]: each["own_key_id"] for each in found} == {each["id"]: each["own_key_id"] for each in ROWS}
    assert names[-1] == "own_key_id"
