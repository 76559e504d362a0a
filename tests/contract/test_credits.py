"""Credit on SQLite and on Postgres: the order of burning, refunds, what is refused, and the edges of 64 bits."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from metering import credits, ledger
from metering.credits import CENT
from metering.database import Database
from metering.errors import UnknownAccount
from metering.money import AMOUNT_MAX
from metering.verify import verify
from tests import books
from tests.purse import DAY, GIFT, INT64, NOW, add, available, charge, expire, hold, purse, refund, remaining, take_back


@pytest.fixture
async def database(migrated_database_url: str) -> AsyncIterator[Database]:
    async with purse(migrated_database_url) as database:
        yield database


@pytest.fixture
async def rigged(migrated_database_url: str) -> AsyncIterator[Database]:
    """For figures that only a hand in the database can make: its books are not looked at."""
    async with books.opened(migrated_database_url) as database:
        await books.fund(database, "acc", 0)
        yield database


async def test_credit_burns_soonest_expiry_first_then_what_was_given_away_then_what_cannot_be_refunded(database: Database) -> None:
    await add(database, "f_paid", 100)
    await add(database, "e_newer", 100, now=NOW + 1)
    await add(database, "d_final", 100, refundable=False)
    await add(database, "c_gift", 100, **GIFT)
    await add(database, "b_late", 100, expires_at=NOW + 2 * DAY, **GIFT)
    await add(database, "a_soon", 100, expires_at=NOW + DAY)
    order = ["a_soon", "b_late", "c_gift", "d_final", "f_paid", "e_newer"]
    for number, id in enumerate(order):
        await charge(database, f"gen_{number}", 60)
        left = await remaining(database)
        burned = 60 * (number + 1)
        assert [left[name] for name in order] == [100 - max(0, min(100, burned - 100 * place)) for place in range(6)], id
    listed = await database.read(credits.listed, "acc")
    assert [row.id for row in listed] == ["a_soon", "b_late", "c_gift", "d_final", "f_paid", "e_newer"]
    assert [row.refundable for row in listed] == [True, False, False, False, True, True]


async def test_a_charge_burns_what_there_was_then_and_not_what_came_later(database: Database) -> None:
    await add(database, "old", 100)
    await charge(database, "gen_1", 60)
    await add(database, "new", 100, expires_at=NOW + DAY, **GIFT)
    assert await remaining(database) == {"old": 40, "new": 100}
    await charge(database, "gen_2", 110)
    assert await remaining(database) == {"old": 30, "new": 0}


async def test_looking_at_credits_writes_nothing(database: Database, migrated_database_url: str) -> None:
    await add(database, "one", 100)
    await charge(database, "gen_1", 60)
    assert await remaining(database) == {"one": 40}
    assert await books.sql(migrated_database_url, "SELECT remaining FROM credit") == [(100,)]


async def test_the_same_id_adds_takes_and_refunds_once(database: Database) -> None:
    assert [await add(database, "one", 10 * CENT) for _ in range(3)] == [True, False, False]
    for _ in range(3):
        await take_back(database, "back", CENT)
    assert [await refund(database, "ref", 2 * CENT) for _ in range(3)] == [2 * CENT] * 3
    assert await refund(database, "ref") == 2 * CENT
    assert await add(database, "one", 10 * CENT, expires_at=NOW - DAY) is False
    assert await available(database) == 7 * CENT


async def test_an_id_of_another_transaction_is_refused(database: Database) -> None:
    await books.fund(database, "other", 5)
    await add(database, "one", 10 * CENT)
    await refund(database, "ref", CENT)
    for wrong in (add(database, "one", 11), add(database, "one", 10 * CENT, account_id="other"), add(database, "ref", CENT),
                  take_back(database, "one", 10 * CENT), refund(database, "one", CENT), refund(database, "ref", 2 * CENT)):  # fmt: skip
        with pytest.raises(ValueError, match="is the id of another transaction"):
            await wrong
    assert await available(database) == 9 * CENT


REFUSALS: dict[str, tuple[int, dict[str, Any], str]] = {
    "zero": (0, {}, "an amount must be between"),
    "negative": (-1, {}, "an amount must be between"),
    "too-much": (AMOUNT_MAX + 1, {}, "an amount must be between"),
    "expired": (1, {"expires_at": NOW}, "must expire in the future"),
    "never-in-a-lifetime": (1, {"expires_at": 2**63}, "before the year 10000"),
    "a-gift-to-be-refunded": (1, {"kind": "promotional"}, "cannot be refundable"),
    "another-kind": (1, {"kind": "stolen"}, "paid or promotional"),
    "a-limit": (1, {"account_id": "lim"}, "lim is a limit"),
}


@pytest.mark.parametrize(("amount", "given", "message"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_credit_that_makes_no_sense_is_refused(database: Database, amount: int, given: dict[str, Any], message: str) -> None:
    await books.limit(database, "lim", 5)
    with pytest.raises(ValueError, match=message):
        await add(database, "one", amount, **given)
    assert await remaining(database) == {}


async def test_an_account_that_does_not_exist_has_no_credit(database: Database) -> None:
    nobody: dict[str, Any] = {"account_id": "acc_nobody", "now": NOW}
    written = {"id": "one", "amount": CENT, "reason": "test"}
    for work in (
        lambda session: credits.add(session, **nobody, **written), lambda session: credits.take_back(session, **nobody, **written),
        lambda session: credits.refund(session, **nobody, **written), lambda session: credits.expire(session, **nobody),
        lambda session: credits.listed(session, "acc_nobody"),
    ):  # fmt: skip
        with pytest.raises(UnknownAccount):
            await database.write(work)
    assert await database.read(credits.next_expiry, "acc_nobody") is None


async def test_all_that_an_account_was_ever_given_fits_into_64_bits(rigged: Database, migrated_database_url: str) -> None:
    await add(rigged, "one", AMOUNT_MAX)
    huge = [f"UPDATE {table} SET {column} = {INT64 - 5}" for table, column in (("credit", "amount"), ("credit", "remaining"))]
    await books.sql(migrated_database_url, *huge, f"UPDATE account SET posted = {INT64 - 5} WHERE id = 'acc'")
    with pytest.raises(ValueError, match=r"cannot be given more than 9223372036\.854775807 USD in all"):
        await add(rigged, "two", 6)
    assert await add(rigged, "three", 5)
    assert await remaining(rigged) == {"one": INT64 - 5, "three": 5}
    assert await available(rigged) == INT64
    await charge(rigged, "gen_1", 7)
    with pytest.raises(ValueError, match="cannot be given more than"):
        await add(rigged, "four", 1)
    assert await refund(rigged, "ref") == AMOUNT_MAX
    await take_back(rigged, "back", AMOUNT_MAX)
    assert await remaining(rigged) == {"one": INT64 - 12 - 2 * AMOUNT_MAX, "three": 5}


@pytest.mark.parametrize(("posted", "held"), [(INT64, 0), (INT64, INT64), (INT64 - 1, 5)])
async def test_a_balance_that_is_full_refuses_more(rigged: Database, migrated_database_url: str, posted: int, held: int) -> None:
    await books.sql(migrated_database_url, f"UPDATE account SET posted = {posted}, held = {held} WHERE id = 'acc'")
    with pytest.raises(ValueError, match=r"cannot have more than 9223372036\.854775807 USD"):
        await add(rigged, "one", 2)
    assert await available(rigged) == posted - held
    assert await remaining(rigged) == {}


async def test_a_balance_that_no_credit_explains_makes_no_credit_grow(rigged: Database, migrated_database_url: str) -> None:
    await add(rigged, "one", 10)
    await charge(rigged, "gen_1", 4)
    await books.sql(migrated_database_url, "UPDATE account SET posted = 25 WHERE id = 'acc'")
    assert await remaining(rigged) == {"one": 10}
    assert await add(rigged, "two", 10)
    assert await remaining(rigged) == {"one": 10, "two": 10}
    found = [check for check in await rigged.read(verify, now=NOW) if check.id == "I15"]
    assert [check.rows for check in found] == [["acc"]]


async def test_as_many_unused_credits_as_can_be_read_and_no_more(
    database: Database, migrated_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credits, "CREDITS_MAX", 3)
    for number in range(3):
        await add(database, f"c{number}", 10)
    with pytest.raises(ValueError, match="has 3 unused credits"):
        await add(database, "c3", 10)
    await charge(database, "gen_1", 10)
    assert await add(database, "c3", 10)
    assert await remaining(database) == {"c1": 10, "c2": 10, "c3": 10}


async def test_unused_credit_is_taken_back_in_the_order_of_burning_and_to_where_it_came_from(
    database: Database, migrated_database_url: str
) -> None:
    await add(database, "paid", 100)
    await add(database, "gift", 100, **GIFT)
    await hold(database, "gen_1", 30)
    with pytest.raises(ValueError, match=r"less than 0\.000000171 USD available"):
        await take_back(database, "back", 171)
    await take_back(database, "back", 120)
    await take_back(database, "back_2", 10)
    assert await remaining(database) == {"paid": 70, "gift": 0}
    entries = await books.sql(migrated_database_url, "SELECT transaction_id, leg, account_id, amount FROM entry ORDER BY 1, 2")
    assert [entry for entry in entries if str(entry[0]).startswith("back")] == [
        ("back", 0, "acc", -20), ("back", 1, "house:cash", 20), ("back_2", 0, "acc", -10), ("back_2", 1, "house:cash", 10),
        ("back_promotion", 0, "acc", -100), ("back_promotion", 1, "house:promotion", 100),
    ]  # fmt: skip
    assert ("gift", 1, "house:promotion", -100) in entries
    assert ("paid", 1, "house:cash", -100) in entries


async def test_only_unused_refundable_paid_credit_that_nobody_holds_is_refunded(database: Database, migrated_database_url: str) -> None:
    await add(database, "gift", 100 * CENT, **GIFT)
    await add(database, "final", 100 * CENT, refundable=False)
    assert await refund(database, "none") == 0
    await add(database, "paid", 100 * CENT)
    await charge(database, "gen_1", 230 * CENT + 1)
    with pytest.raises(ValueError, match=r"0\.7 USD is more than can be refunded: 0\.69 USD"):
        await refund(database, "ref", 70 * CENT)
    await hold(database, "gen_2", 10 * CENT)
    with pytest.raises(ValueError, match=r"more than can be refunded: 0\.59 USD"):
        await refund(database, "ref", 60 * CENT)
    with pytest.raises(ValueError, match="in whole cents"):
        await refund(database, "ref", CENT + 1)
    for amount in (0, -CENT, AMOUNT_MAX + 1):
        with pytest.raises(ValueError, match="an amount must be between"):
            await refund(database, "ref", amount)
    assert await refund(database, "ref", 9 * CENT) == 9 * CENT
    assert await refund(database, "ref_all") == 50 * CENT
    assert await refund(database, "ref_again") == 0
    assert await remaining(database) == {"gift": 0, "final": 0, "paid": 11 * CENT - 1}
    found = await books.sql(migrated_database_url, "SELECT leg, account_id, amount FROM entry WHERE kind = 'refund' ORDER BY amount")
    assert found == [(0, "acc", -50 * CENT), (0, "acc", -9 * CENT), (1, "house:cash", 9 * CENT), (1, "house:cash", 50 * CENT)]
    assert await database.read(ledger.balance, "acc") == ledger.Balance(
        credits=241 * CENT, usage=230 * CENT + 1, held=10 * CENT, available=CENT - 1
    )


async def test_credits_less_usage_is_the_balance_whatever_was_taken_out(database: Database) -> None:
    await add(database, "paid", 100 * CENT)
    await add(database, "gift", 50 * CENT, expires_at=NOW + DAY, **GIFT)
    await charge(database, "gen_1", 10 * CENT)
    await take_back(database, "back", 5 * CENT)
    await expire(database, NOW + DAY)
    await refund(database, "ref", 20 * CENT)
    assert await database.read(ledger.balance, "acc") == ledger.Balance(credits=90 * CENT, usage=10 * CENT, held=0, available=80 * CENT)
