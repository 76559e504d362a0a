"""Edges of the ledger that only a wrong change would reach: one batch that adds up by itself, a period's first moment, last guards."""

import sqlite3
from contextlib import closing
from typing import Any
from unittest.mock import patch

import asyncpg
import pytest
from sqlalchemy import update
from sqlmodel import Session, col

from metering.batch import RECOVERED, SETTLED, VOID, Closed, CloseJob, ExtendJob, Held, HoldJob, Job, Refused
from metering.database import Database
from metering.errors import UnknownAccount
from metering.ledger import Balance, Ledger, account_ids, available, balance, deposit, locked, start_period
from metering.money import now_ms
from metering.periods import period
from metering.tables import Account
from metering.usage import Usage
from tests import books

PRICE = books.COST.charge
DAY_MS = 86_400_000


def hold(id: str, amount: int, *limits: str, boot_id: str = "boot_1") -> HoldJob:
    return HoldJob(id=id, account_id="acc", limits=limits, amount=amount, boot_id=boot_id)


def end(id: str, *, charge: int = 0) -> CloseJob:
    """Charged by a row whose price it is."""
    if not charge:
        return CloseJob(id=id, charge=0, state=VOID)
    return CloseJob(id=id, charge=charge, state=SETTLED, generation={**books.generation(id, "acc"), "charge": charge})


async def _balance(database: Database) -> Balance:
    return await database.read(balance, "acc")


# One batch


async def test_holds_of_one_batch_share_one_balance(database: Database) -> None:
    await books.fund(database, "acc", 1000)
    assert await database.commit([hold("gen_1", 600), hold("gen_2", 600), hold("gen_3", 400), hold("gen_4", 1)]) == [
        Held(600),
        Refused("acc", 400, 600),
        Held(400),
        Refused("acc", 0, 1000),
    ]
    assert await _balance(database) == Balance(credits=1000, usage=0, held=1000, available=0)


async def test_what_ends_in_a_batch_makes_room_for_its_holds(database: Database) -> None:
    await books.fund(database, "acc", 2 * PRICE)
    await books.limit(database, "lim", 2 * PRICE)
    await database.commit([hold("gen_1", 2 * PRICE - 1, "lim")])
    jobs: list[Job] = [hold("gen_2", 1, "lim"), end("gen_1", charge=PRICE), hold("gen_3", PRICE - 1, "lim"), hold("gen_4", 1, "lim")]
    assert await database.commit(jobs) == [Held(1), Closed(PRICE, SETTLED, True), Held(PRICE - 1), Refused("acc", 0, PRICE)]
    assert await _balance(database) == Balance(credits=2 * PRICE, usage=PRICE, held=PRICE, available=0)


async def test_what_a_batch_ends_first_is_known_to_its_holds(database: Database) -> None:
    await books.fund(database, "acc", 2 * PRICE)
    await database.commit([hold("gen_1", 2 * PRICE)])
    jobs: list[Job] = [end("gen_1", charge=PRICE), hold("gen_2", PRICE + 1), hold("gen_3", PRICE)]
    assert await database.commit(jobs) == [Closed(PRICE, SETTLED, True), Refused("acc", PRICE, 0), Held(PRICE)]


async def test_an_extension_in_a_batch_takes_room_from_its_holds(database: Database) -> None:
    await books.fund(database, "acc", 1000)
    await database.commit([hold("gen_1", 100)])
    jobs: list[Job] = [ExtendJob(id="gen_1", target=700), hold("gen_2", 301), hold("gen_3", 300)]
    assert await database.commit(jobs) == [Held(700), Refused("acc", 300, 700), Held(300)]


async def test_an_extension_to_the_last_nano_dollar_is_held_and_one_more_is_not(database: Database) -> None:
    await books.fund(database, "acc", 1000)
    await database.commit([hold("gen_1", 100)])
    assert await database.commit([ExtendJob(id="gen_1", target=1001)]) == [Refused("acc", 900, 100)]
    assert await database.commit([ExtendJob(id="gen_1", target=1000)]) == [Held(1000)]
    assert await database.commit([ExtendJob(id="gen_1", target=1001)]) == [Refused("acc", 0, 1000)]
    assert await database.commit([ExtendJob(id="gen_1", target=1001, partly=True)]) == [Held(1000)]
    assert await database.commit([ExtendJob(id="gen_1", target=5)]) == [Held(1000)]


async def test_an_end_twice_in_one_batch_counts_once(database: Database) -> None:
    await books.fund(database, "acc", 2 * PRICE)
    await database.commit([hold("gen_1", PRICE)])
    jobs: list[Job] = [end("gen_1", charge=PRICE), end("gen_1", charge=PRICE), end("gen_1")]
    assert await database.commit(jobs) == [Closed(PRICE, SETTLED, number == 0) for number in range(3)]
    assert await _balance(database) == Balance(credits=2 * PRICE, usage=PRICE, held=0, available=PRICE)


async def test_what_never_was_ends_as_it_was_meant_to_and_is_no_change(database: Database) -> None:
    assert await database.commit([CloseJob(id="gen_1", charge=7, state=RECOVERED)]) == [Closed(0, RECOVERED, False)]
    assert await database.commit([ExtendJob(id="gen_1", target=7, partly=True)]) == [Refused("", 0)]


# The first and the last moment of a period


async def _limit(url: str) -> list[tuple[object, ...]]:
    return await books.sql(url, "SELECT posted, held, period_start, period_end FROM account WHERE id = 'lim'")


@pytest.mark.parametrize(("late", "counts_in_the_next"), [(-1, False), (0, True)], ids=["the last moment", "the first of the next"])
async def test_a_charge_counts_in_the_period_of_its_moment(
    database: Database, migrated_database_url: str, late: int, counts_in_the_next: bool
) -> None:
    now = now_ms()
    first, last = period("daily", now)
    await books.fund(database, "acc", 10 * PRICE)
    await books.limit(database, "lim", 5 * PRICE, reset="daily", now=now)
    await database.commit([hold("gen_1", PRICE, "lim"), end("gen_1", charge=PRICE)])
    with patch("metering.database.now_ms", lambda: last + late):
        await database.commit([hold("gen_2", PRICE, "lim"), end("gen_2", charge=PRICE)])
    expected = (-PRICE, 0, last, last + DAY_MS) if counts_in_the_next else (-2 * PRICE, 0, first, last)
    assert await _limit(migrated_database_url) == [expected]


@pytest.mark.parametrize(("early", "charged"), [(0, PRICE), (1, 0)], ids=["the first moment", "the moment before"])
async def test_a_charge_from_before_a_period_is_not_of_it(database: Database, migrated_database_url: str, early: int, charged: int) -> None:
    first, last = period("daily", now_ms())
    await books.fund(database, "acc", 10 * PRICE)
    await books.limit(database, "lim", 5 * PRICE, reset="daily", now=first)
    with patch("metering.database.now_ms", lambda: first - early):
        await database.commit([hold("gen_1", PRICE, "lim"), end("gen_1", charge=PRICE)])
    assert await _limit(migrated_database_url) == [(-charged, 0, first, last)]


async def test_a_hold_does_not_start_a_period_only_a_charge_does(database: Database, migrated_database_url: str) -> None:
    """Else the one database would forget what was spent before midnight and the other would not."""
    first, last = period("daily", now_ms())
    await books.fund(database, "acc", 10 * PRICE)
    await books.limit(database, "lim", 5 * PRICE, reset="daily", now=first)
    await database.commit([hold("gen_1", PRICE, "lim"), end("gen_1", charge=PRICE)])
    with patch("metering.database.now_ms", lambda: last):
        await database.commit([hold("gen_2", PRICE, "lim")])
        await database.commit([ExtendJob(id="gen_2", target=2 * PRICE)])
        assert await _limit(migrated_database_url) == [(-PRICE, 2 * PRICE, first, last)]
        await database.commit([end("gen_2")])
    assert await _limit(migrated_database_url) == [(0, 0, last, last + DAY_MS)]


# The last guards: what the tables themselves refuse, whoever asks


@pytest.fixture
def refuse(migrated_database_url: str) -> "Refuse":
    return Refuse(migrated_database_url)


class Refuse:
    """Runs a statement past every function of ours, CHECK constraints on; it must be refused by the one that is named."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def __call__(self, statement: str, *, by: str) -> None:
        with pytest.raises((sqlite3.IntegrityError, asyncpg.CheckViolationError), match=by):
            await self._run(statement)

    async def _run(self, statement: str) -> None:
        if self._url.startswith("sqlite:///"):
            with closing(sqlite3.connect(self._url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
                connection.execute(statement)
            return
        connection = await asyncpg.connect(self._url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@pytest.mark.parametrize("statement", ["UPDATE account SET posted = posted - 601", "UPDATE account SET held = held + 601"])
async def test_the_table_itself_keeps_an_account_from_going_below_zero(database: Database, refuse: Refuse, statement: str) -> None:
    await books.fund(database, "acc", 1000)
    await database.commit([hold("gen_1", 400)])
    await refuse(f"{statement} WHERE id = 'acc'", by="account_never_below_zero")
    assert (await _balance(database)).available == 600


async def test_the_table_itself_never_holds_less_than_nothing(database: Database, refuse: Refuse) -> None:
    await books.fund(database, "acc", 1000)
    await refuse("UPDATE account SET held = -1 WHERE id = 'acc'", by="account_held")


@pytest.mark.parametrize("statement", ["UPDATE hold SET charge = 401", "UPDATE hold SET charge = -1", "UPDATE hold SET amount = -1"])
async def test_the_table_itself_keeps_a_charge_within_its_hold(database: Database, refuse: Refuse, statement: str) -> None:
    await books.fund(database, "acc", 1000)
    await database.commit([hold("gen_1", 400)])
    await refuse(statement, by="hold_charge")


# What a settle says in its row


async def test_a_settle_above_its_hold_says_what_was_held_and_what_the_house_bore(
    database: Database, ledger: Ledger, migrated_database_url: str
) -> None:
    await books.fund(database, "acc", PRICE - 10)
    await ledger.hold("gen_1", account_id="acc", limits=(), amount=5)
    assert await ledger.settle("gen_1", charge=PRICE, held=5, generation=books.generation("gen_1", "acc")) == Closed(
        PRICE - 10, SETTLED, True
    )
    assert await books.sql(migrated_database_url, "SELECT held, charge, shortfall FROM generation") == [(PRICE - 10, PRICE - 10, 10)]


async def test_a_settle_of_exactly_its_hold_takes_nothing_more(database: Database, ledger: Ledger, migrated_database_url: str) -> None:
    await books.fund(database, "acc", 10 * PRICE)
    await ledger.hold("gen_1", account_id="acc", limits=(), amount=PRICE)
    await ledger.settle("gen_1", charge=PRICE, held=PRICE, generation=books.generation("gen_1", "acc"))
    assert await books.sql(migrated_database_url, "SELECT amount, charge FROM hold") == [(PRICE, PRICE)]
    assert await books.sql(migrated_database_url, "SELECT held, charge, shortfall FROM generation") == [(PRICE, PRICE, 0)]


async def test_a_free_generation_books_nothing(database: Database, ledger: Ledger, migrated_database_url: str) -> None:
    await books.fund(database, "acc", 10)
    await ledger.hold("gen_1", account_id="acc", limits=(), amount=10)
    row = books.generation("gen_1", "acc", usage=Usage())
    assert await ledger.settle("gen_1", charge=0, held=10, generation=row) == Closed(0, SETTLED, True)
    assert await books.sql(migrated_database_url, "SELECT * FROM entry WHERE kind = 'charge'") == []
    assert (await _balance(database)).available == 10


# Deposits and periods by themselves


async def _deposit(database: Database, amount: int) -> None:
    await database.write(deposit, id=f"dep_{amount}", account_id="acc", amount=amount, kind="deposit", reason="test", now=books.START)


async def test_the_two_entries_of_a_deposit_take_back_no_more_than_is_available(database: Database, ledger: Ledger) -> None:
    await books.fund(database, "acc", 1000)
    await ledger.hold("gen_1", account_id="acc", limits=(), amount=400)
    with pytest.raises(ValueError, match=r" 0\.000000601 USD"):
        await _deposit(database, -601)
    assert (await _balance(database)).available == 600


@pytest.mark.parametrize("id", ["lim", "nowhere"])
async def test_a_limit_without_periods_starts_none(database: Database, migrated_database_url: str, id: str) -> None:
    await books.fund(database, "acc", 10 * PRICE)
    await books.limit(database, "lim", 5 * PRICE)
    await database.commit([hold("gen_1", PRICE, "lim"), end("gen_1", charge=PRICE)])
    await database.write(start_period, id=id, now=now_ms() + 400 * DAY_MS)
    assert await _limit(migrated_database_url) == [(-PRICE, 0, None, None)]


async def test_an_overdraft_can_be_taken_back_from_and_no_further(database: Database, migrated_database_url: str) -> None:
    await books.fund(database, "acc", 100)
    await books.sql(migrated_database_url, "UPDATE account SET overdraft = 50 WHERE id = 'acc'")
    fields = {"account_id": "acc", "kind": "deposit", "reason": "test", "now": books.START}
    with pytest.raises(ValueError, match="available"):
        await database.write(deposit, id="dep_1", amount=-151, **fields)
    assert (await database.read(balance, "acc")).available == await database.read(available, "acc") == 150
    await books.sql(migrated_database_url, "UPDATE account SET overdraft = 0 WHERE id = 'acc'")


@pytest.mark.parametrize("figure", [balance, available])
async def test_nobody_has_no_balance(database: Database, figure: Any) -> None:
    with pytest.raises(UnknownAccount, match="there is no account acc_nobody"):
        await database.read(figure, "acc_nobody")


async def test_accounts_are_listed_by_id_and_limits_are_not(database: Database) -> None:
    for id in ("acc_2", "acc_1"):
        await books.fund(database, id, 5)
    await books.limit(database, "lim", 5)
    assert await database.read(account_ids) == ["acc_1", "acc_2"]


async def test_the_ledger_tells_how_long_its_queue_waits(database: Database) -> None:
    await books.fund(database, "acc", 5)
    ledger = Ledger(database, "boot_1")
    assert ledger.waiting_ms == 0


async def test_a_locked_account_is_as_it_is_now_and_not_as_the_session_remembers_it(database: Database) -> None:
    """On Postgres another transaction may have moved it between the first look and the lock."""
    await books.fund(database, "acc", 1000)

    def looks_twice(session: Session) -> int:
        remembered = session.get(Account, "acc")  # while it is referred to, the session gives it to whoever asks
        assert remembered is not None
        assert remembered.held == 0
        _hold_by_hand(session, 400)
        found = locked(session, "acc").held
        _hold_by_hand(session, 0)
        return found

    assert await database.write(looks_twice) == 400


def _hold_by_hand(session: Session, amount: int) -> None:
    session.connection().execute(update(Account).where(col(Account.id) == "acc").values(held=amount))


async def test_what_is_available_is_what_may_still_be_held(database: Database) -> None:
    await books.fund(database, "acc", 1000)
    await database.commit([hold("gen_1", 300)])
    assert await database.read(available, "acc") == 700
    with pytest.raises(UnknownAccount, match="nobody"):
        await database.read(available, "nobody")


async def test_the_ledger_says_how_many_jobs_wait_and_a_flush_returns_when_none_does(database: Database) -> None:
    await books.fund(database, "acc", 1000)
    ledger = Ledger(database, "boot_1")
    for number in range(3):
        ledger.void_later(f"gen_{number}")
    assert ledger.waiting == 3
    await ledger.flush()
    assert ledger.waiting == 0
