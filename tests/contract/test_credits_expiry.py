"""Credit that expires, on SQLite and on Postgres, with holds running, and with several processes at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from metering import credits
from metering.batch import Held, Refused
from metering.credits import CENT
from metering.database import Database
from tests import books
from tests.purse import DAY, GIFT, NOW, add, available, charge, expire, hold, purse, refund, remaining, settle, take_back


@pytest.fixture
async def database(migrated_database_url: str) -> AsyncIterator[Database]:
    async with purse(migrated_database_url) as database:
        yield database


async def test_what_remains_of_expired_credit_goes_at_its_moment_and_once(database: Database, migrated_database_url: str) -> None:
    await add(database, "paid", 100)
    await add(database, "gift", 100, expires_at=NOW + DAY, **GIFT)
    await add(database, "late", 100, expires_at=NOW + 2 * DAY)
    await charge(database, "gen_1", 60)
    assert await expire(database, NOW + DAY - 1) == 0
    assert [await expire(database, NOW + DAY) for _ in range(3)] == [40, 0, 0]
    assert await remaining(database) == {"paid": 100, "gift": 0, "late": 100}
    assert await expire(database, NOW + 2 * DAY) == 100
    assert await available(database) == 100
    found = await books.sql(
        migrated_database_url, "SELECT transaction_id, account_id, amount FROM entry WHERE kind = 'expiry' ORDER BY 1, leg"
    )
    assert found == [("exp_gift_40", "acc", -40), ("exp_gift_40", "house:promotion", 40),
                     ("exp_late_100", "acc", -100), ("exp_late_100", "house:expired", 100)]  # fmt: skip


async def test_a_hold_made_before_the_expiry_keeps_its_credit(database: Database) -> None:
    await add(database, "gift", 100, expires_at=NOW + DAY, **GIFT)
    await add(database, "paid", 100)
    await hold(database, "gen_1", 60)
    assert await expire(database, NOW + DAY) == 40
    assert await available(database) == 100
    await add(database, "more", 100, now=NOW + DAY)
    assert await expire(database, NOW + DAY) == 0
    await settle(database, "gen_1", 25, held=60)
    assert await remaining(database) == {"gift": 35, "paid": 100, "more": 100}
    assert await expire(database, NOW + DAY) == 35
    assert await available(database) == 200


async def test_a_hold_made_after_the_expiry_keeps_no_expired_credit(database: Database) -> None:
    await add(database, "gift", 100, expires_at=NOW + DAY, **GIFT)
    await add(database, "paid", 100)
    await hold(database, "gen_1", 60, at=NOW + DAY)
    assert await expire(database, NOW + DAY) == 100
    assert await available(database) == 40


async def test_expiry_never_takes_what_is_held_whoever_holds_it(database: Database) -> None:
    await add(database, "gift", 100, expires_at=NOW + DAY, **GIFT)
    await hold(database, "gen_1", 70, at=NOW + DAY)
    assert await expire(database, NOW + DAY) == 30
    assert await available(database) == 0
    assert await hold(database, "gen_2", 1) == Refused("acc", 0, 70)
    await settle(database, "gen_1", 10, held=70)
    assert await expire(database, NOW + DAY) == 60
    assert await available(database) == 0


async def test_holds_of_two_expiries_keep_one_credit_each(database: Database) -> None:
    await add(database, "first", 100, expires_at=NOW + DAY, **GIFT)
    await add(database, "second", 100, expires_at=NOW + 2 * DAY, **GIFT)
    await add(database, "paid", 100)
    await hold(database, "gen_1", 60)
    await hold(database, "gen_2", 50, at=NOW + DAY)
    assert await expire(database, NOW + 2 * DAY) == 40 + 50
    assert await remaining(database) == {"first": 60, "second": 50, "paid": 100}


async def test_expired_credit_is_not_refunded_and_does_not_hide_from_the_one_who_takes_back(database: Database) -> None:
    await add(database, "paid", 10 * CENT, expires_at=NOW + DAY)
    await add(database, "stays", 10 * CENT)
    await hold(database, "gen_1", 4 * CENT)
    with pytest.raises(ValueError, match="less than"):
        await take_back(database, "back", 11 * CENT, now=NOW + DAY)
    assert await refund(database, "ref", now=NOW + DAY) == 10 * CENT
    assert await remaining(database) == {"paid": 4 * CENT, "stays": 0}


async def test_what_is_due_is_found_and_forgotten(database: Database) -> None:
    for number in range(4):
        await books.fund(database, f"acc_{number}", 0)
        await add(database, f"gift_{number}", 10, account_id=f"acc_{number}", expires_at=NOW + DAY - number, **GIFT)
    await add(database, "later", 10, account_id="acc_3", expires_at=NOW + 2 * DAY, **GIFT)
    await add(database, "never", 10)
    await books.sql(_url(database), "UPDATE account SET held = 20 WHERE id = 'acc_3'")

    async def due(now: int, limit: int = 100) -> list[str]:
        return await database.read(credits.due, now=now, limit=limit)

    assert await due(NOW + DAY - 4) == []
    assert await due(NOW + DAY - 2) == ["acc_2", "acc_3"]
    assert await due(NOW + DAY) == ["acc_2", "acc_1", "acc_0", "acc_3"]
    assert await due(NOW + DAY, limit=2) == ["acc_2", "acc_1"]
    await books.sql(_url(database), "UPDATE account SET held = 0 WHERE id = 'acc_3'")
    assert await database.read(credits.next_expiry, "acc_3") == NOW + DAY - 3
    await database.write(credits.expire, account_id="acc_3", now=NOW + DAY)
    assert await due(NOW + DAY) == ["acc_2", "acc_1", "acc_0"]
    assert await database.read(credits.next_expiry, "acc_3") == NOW + 2 * DAY
    assert await database.read(credits.next_expiry, "acc") is None


def _url(database: Any) -> str:
    return f"sqlite:///{database._path}" if hasattr(database, "_path") else str(database._url)


async def test_credit_that_is_used_up_is_not_due_once_somebody_looked(database: Database) -> None:
    await add(database, "gift", 10, expires_at=NOW + DAY, **GIFT)
    await charge(database, "gen_1", 10)
    assert await database.read(credits.due, now=NOW + DAY, limit=1) == ["acc"]
    assert await expire(database, NOW + DAY) == 0
    assert await database.read(credits.due, now=NOW + DAY, limit=1) == []
    assert await database.read(credits.next_expiry, "acc") is None


async def test_everything_at_once_loses_nothing(database: Database, migrated_database_url: str) -> None:
    """Charges, top-ups, refunds and expiries of three processes, all on one account."""
    await add(database, "paid", 1000 * CENT)
    gifts = [f"gift_{number}" for number in range(10)]
    for number, id in enumerate(gifts):
        await add(database, id, 50 * CENT, expires_at=NOW + DAY + number, **GIFT)
    async with AsyncExitStack() as stack:
        three = [database, *[await stack.enter_async_context(books.connected(migrated_database_url)) for _ in range(2)]]

        async def spend(number: int) -> int:
            each, id = three[number % 3], f"gen_{number}"
            if not isinstance(await hold(each, id, 9 * CENT), Held):
                return 0
            await settle(each, id, 7 * CENT, held=9 * CENT)
            return 7 * CENT

        expiries = [expire(three[number % 3], NOW + DAY + number // 3) for number in range(30)]
        top_ups = [add(three[number % 3], f"top_{number // 3}", 10 * CENT) for number in range(15)]
        refunds = [refund(three[number % 3], f"ref_{number // 3}", 5 * CENT) for number in range(15)]
        spent, expired, added, refunded = await asyncio.gather(
            asyncio.gather(*(spend(number) for number in range(60))),
            asyncio.gather(*expiries), asyncio.gather(*top_ups), asyncio.gather(*refunds),
        )  # fmt: skip
    last = await expire(database, NOW + 2 * DAY)
    assert (sum(spent), sum(added), refunded) == (60 * 7 * CENT, 5, [5 * CENT] * 15)
    assert await available(database) == (1000 + 500 + 50 - 420 - 25) * CENT - sum(expired) - last
    left = await remaining(database)
    assert sum(left.values()) == await available(database)
    assert [left[id] for id in gifts] == [0] * 10


async def test_two_processes_that_expire_at_once_do_it_once(database: Database, migrated_database_url: str) -> None:
    await add(database, "paid", 100)
    async with AsyncExitStack() as stack:
        three = [database, *[await stack.enter_async_context(books.connected(migrated_database_url)) for _ in range(2)]]
        for turn in range(10):
            await add(database, f"gift_{turn}", 70, expires_at=NOW + 1, **GIFT)
            assert sorted(await asyncio.gather(*(expire(each, NOW + 1) for each in three))) == [0, 0, 70]
    assert await available(database) == 100
