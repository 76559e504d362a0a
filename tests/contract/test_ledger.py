"""The ledger's promises, on SQLite and on Postgres."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from metering.batch import RECOVERED, SETTLED, VOID, Closed, CloseJob, Held, HoldJob, Job, Outcome, Refused
from metering.commit import QUEUE_MAX, Commit
from metering.database import Database
from metering.errors import DatabaseUnavailable, LedgerBusy, UnknownAccount
from metering.ledger import Balance, Ledger, balance, start_period
from metering.money import AMOUNT_MAX, now_ms
from metering.periods import period
from metering.usage import Usage
from tests import books

PRICE = books.COST.charge
DAY = 86_400_000


async def _hold(ledger: Ledger, id: str, amount: int, *limits: str) -> Held | Refused:
    return await ledger.hold(id, account_id="acc", limits=limits, amount=amount)


async def _settle(ledger: Ledger, id: str, held: int, usage: Usage = books.USAGE) -> Closed:
    row = books.generation(id, "acc", usage=usage)
    return await ledger.settle(id, charge=int(row["total_pico"] or 0) // 1000, held=held, generation=row)


async def _balance(database: Database) -> Balance:
    return await database.read(balance, "acc")


async def _rows(url: str, query: str) -> list[tuple[Any, ...]]:
    return await books.sql(url, query)


async def test_a_thousand_requests_at_once_on_money_for_a_hundred_admit_exactly_a_hundred(
    database: Database, migrated_database_url: str
) -> None:
    await books.fund(database, "acc", 100 * PRICE + PRICE - 1)
    async with AsyncExitStack() as stack:
        others = [await stack.enter_async_context(books.connected(migrated_database_url)) for _ in range(2)]
        ledgers = [Ledger(each, "boot_1") for each in (database, *others)]
        outcomes = await asyncio.gather(*(_hold(ledgers[number % 3], f"gen_{number}", PRICE) for number in range(1000)))
        admitted = [f"gen_{number}" for number, outcome in enumerate(outcomes) if isinstance(outcome, Held)]
        assert len(admitted) == 100
        assert (await _balance(database)).available == PRICE - 1
        closed = await asyncio.gather(*(_settle(ledgers[turn], id, PRICE) for id in admitted for turn in range(2)))
    assert sum(each.changed for each in closed) == 100
    assert await _balance(database) == Balance(credits=101 * PRICE - 1, usage=100 * PRICE, held=0, available=PRICE - 1)


async def test_a_hold_takes_its_account_and_every_limit_or_none_of_them(database: Database, ledger: Ledger) -> None:
    await books.fund(database, "acc", 1000)
    await books.limit(database, "lim_a", 900)
    await books.limit(database, "lim_b", 500)
    assert await _hold(ledger, "gen_1", 600, "lim_a", "lim_b") == Refused("lim_b", 500)
    assert (await _balance(database)).held == 0
    assert await _hold(ledger, "gen_2", 900, "lim_a") == Held(900)
    assert await _hold(ledger, "gen_3", 101, "lim_b") == Refused("acc", 100, 900)
    assert await _hold(ledger, "gen_4", 100, "lim_b") == Held(100)
    assert await _hold(ledger, "gen_5", 1, "lim_nowhere") == Refused("acc", 0, 1000)


async def test_an_account_that_does_not_exist_can_hold_nothing(ledger: Ledger) -> None:
    assert await _hold(ledger, "gen_1", 1) == Refused("acc", 0)


async def test_a_hold_sent_again_is_the_same_hold(database: Database, ledger: Ledger) -> None:
    await books.fund(database, "acc", 1000)
    assert await _hold(ledger, "gen_1", 600) == Held(600)
    assert await _hold(ledger, "gen_1", 300) == Held(600)
    assert await _hold(ledger, "gen_1", 600) == Held(600)
    assert (await _balance(database)).held == 600
    await ledger.void("gen_1", generation=None)
    assert await _hold(ledger, "gen_1", 600) == Refused("acc", 1000)


async def test_settling_twice_charges_once(database: Database, ledger: Ledger) -> None:
    await books.fund(database, "acc", 10 * PRICE)
    await _hold(ledger, "gen_1", 2 * PRICE)
    outcomes = await asyncio.gather(*(_settle(ledger, "gen_1", 2 * PRICE) for _ in range(3)))
    assert outcomes == [Closed(PRICE, SETTLED, number == 0) for number in range(3)]
    assert await _settle(ledger, "gen_1", 2 * PRICE) == Closed(PRICE, SETTLED, False)
    assert await _balance(database) == Balance(credits=10 * PRICE, usage=PRICE, held=0, available=9 * PRICE)


async def test_an_end_is_final(database: Database, ledger: Ledger) -> None:
    await books.fund(database, "acc", 10 * PRICE)
    for id in ("gen_settled", "gen_void"):
        await _hold(ledger, id, PRICE)
    await _settle(ledger, "gen_settled", PRICE)
    await ledger.void("gen_void", generation=None)
    assert await ledger.void("gen_settled", generation=None) == Closed(PRICE, SETTLED, False)
    assert await _settle(ledger, "gen_void", PRICE) == Closed(0, VOID, False)
    assert (await _balance(database)).usage == PRICE


async def test_of_two_ends_at_once_the_first_counts(database: Database, ledger: Ledger) -> None:
    await books.fund(database, "acc", 10 * PRICE)
    await _hold(ledger, "gen_1", PRICE)
    settled, void = await asyncio.gather(_settle(ledger, "gen_1", PRICE), ledger.void("gen_1", generation=None))
    assert (settled, void) == (Closed(PRICE, SETTLED, True), Closed(PRICE, SETTLED, False))


async def test_a_hold_and_its_end_at_once_leave_nothing_held(database: Database, ledger: Ledger) -> None:
    await books.fund(database, "acc", 1000)
    held, void = await asyncio.gather(_hold(ledger, "gen_1", 600), ledger.void("gen_1", generation=None))
    assert (held, void) == (Held(600), Closed(0, VOID, True))
    assert (await _balance(database)).held == 0


async def test_a_generation_that_never_held_charges_nothing(database: Database, ledger: Ledger, migrated_database_url: str) -> None:
    assert await _settle(ledger, "gen_1", PRICE) == Closed(0, SETTLED, False)
    assert await _rows(migrated_database_url, "SELECT * FROM generation") == []


async def test_a_settle_above_its_hold_takes_what_there_is_and_the_rest_is_the_houses(
    database: Database, ledger: Ledger, migrated_database_url: str
) -> None:
    await books.fund(database, "acc", 2 * PRICE - 100)
    await books.limit(database, "lim", 3 * PRICE)
    for id in ("gen_1", "gen_2"):
        await _hold(ledger, id, 1000, "lim")
    assert await _settle(ledger, "gen_1", 1000) == Closed(PRICE, SETTLED, True)
    assert await _settle(ledger, "gen_2", 1000) == Closed(PRICE - 100, SETTLED, True)
    rows = await _rows(migrated_database_url, "SELECT id, held, charge, shortfall FROM generation ORDER BY id")
    assert rows == [("gen_1", PRICE, PRICE, 0), ("gen_2", PRICE - 100, PRICE - 100, 100)]
    assert (await _balance(database)).available == 0


async def test_a_limit_stops_an_extension_too(database: Database, ledger: Ledger) -> None:
    await books.fund(database, "acc", 10 * PRICE)
    await books.limit(database, "lim", 1500)
    await _hold(ledger, "gen_1", 1000, "lim")
    assert await _settle(ledger, "gen_1", 1000) == Closed(1500, SETTLED, True)


async def test_a_charge_smaller_than_its_hold_releases_the_rest(database: Database, ledger: Ledger, migrated_database_url: str) -> None:
    await books.fund(database, "acc", 10 * PRICE)
    await _hold(ledger, "gen_1", 9 * PRICE)
    assert await _settle(ledger, "gen_1", 9 * PRICE) == Closed(PRICE, SETTLED, True)
    entries = await _rows(migrated_database_url, "SELECT leg, account_id, amount FROM entry WHERE transaction_id = 'gen_1' ORDER BY leg")
    assert entries == [(0, "acc", -PRICE), (1, "house:revenue", PRICE)]


async def _deposit(database: Database, amount: int, *, id: str = "dep_1", account_id: str = "acc") -> None:
    await database.write(books.move, id=id, account_id=account_id, amount=amount, now=books.START)


async def test_a_deposit_sent_again_counts_once(database: Database) -> None:
    await books.fund(database, "acc", 0)
    for _ in range(3):
        await _deposit(database, 700)
    assert await _balance(database) == Balance(credits=700, usage=0, held=0, available=700)


async def test_no_more_can_be_taken_back_than_is_available(database: Database, ledger: Ledger) -> None:
    await books.fund(database, "acc", 1000)
    await _hold(ledger, "gen_1", 400)
    with pytest.raises(ValueError, match=r"less than 0\.000000601 USD available"):
        await _deposit(database, -601)
    await _deposit(database, -600)
    assert (await _balance(database)).available == 0


@pytest.mark.parametrize("amount", [0, AMOUNT_MAX + 1, -AMOUNT_MAX - 1])
async def test_a_deposit_has_an_amount_that_makes_sense(database: Database, amount: int) -> None:
    await books.fund(database, "acc", 0)
    with pytest.raises(ValueError, match="an amount must be between"):
        await _deposit(database, amount)


async def test_money_cannot_go_to_nobody_or_to_a_limit(database: Database) -> None:
    await books.limit(database, "lim", 5)
    with pytest.raises(UnknownAccount):
        await _deposit(database, 1, account_id="acc_nobody")
    with pytest.raises(ValueError, match="lim is a limit: it has no credit"):
        await _deposit(database, 1, account_id="lim")


@pytest.mark.parametrize("statement", ["UPDATE entry SET amount = 1", "DELETE FROM entry", "UPDATE entry SET reason = 'x' WHERE leg = 1"])
async def test_entries_cannot_be_changed_or_deleted(database: Database, migrated_database_url: str, statement: str) -> None:
    await books.fund(database, "acc", 1000)
    before = await _rows(migrated_database_url, "SELECT * FROM entry ORDER BY leg")
    with pytest.raises(Exception, match="entries are only ever added"):
        await books.sql(migrated_database_url, statement)
    assert await _rows(migrated_database_url, "SELECT * FROM entry ORDER BY leg") == before


IMPOSSIBLE = {
    "a-column-without-its-value": {"model": None},
    "a-number-beyond-64-bits": {"duration_ms": 2**70},
    "half-a-character": {"title": "\ud800"},
}


@pytest.mark.parametrize("wrong", IMPOSSIBLE.values(), ids=IMPOSSIBLE.keys())
async def test_an_impossible_row_harms_no_neighbour(database: Database, ledger: Ledger, wrong: dict[str, Any]) -> None:
    """Neither does it keep the money of its own hold."""
    row = {**books.generation("gen_5", "acc", usage=Usage()), **wrong}
    outcome = await _with_neighbours(database, ledger, ledger.void("gen_5", generation=row))
    assert outcome == Closed(0, VOID, True)
    assert await _balance(database) == Balance(credits=100 * PRICE, usage=9 * PRICE, held=0, available=91 * PRICE)


async def test_an_impossible_charge_harms_no_neighbour(database: Database, ledger: Ledger) -> None:
    row = books.generation("gen_5", "acc")
    outcome = await _with_neighbours(database, ledger, ledger.settle("gen_5", charge=2**63, held=2**63, generation=row))
    assert isinstance(outcome, Exception)
    assert not isinstance(outcome, DatabaseUnavailable)
    assert await _balance(database) == Balance(credits=100 * PRICE, usage=9 * PRICE, held=PRICE, available=90 * PRICE)


async def _with_neighbours(database: Database, ledger: Ledger, impossible: Any) -> object:
    """What became of the impossible one, in a batch whose others are all settled."""
    await books.fund(database, "acc", 100 * PRICE)
    await asyncio.gather(*(_hold(ledger, f"gen_{number}", PRICE) for number in range(10)))
    settles = [impossible if number == 5 else _settle(ledger, f"gen_{number}", PRICE) for number in range(10)]
    async with asyncio.timeout(20):
        outcomes = await asyncio.gather(*settles, return_exceptions=True)
    outcome = outcomes.pop(5)
    assert outcomes == [Closed(PRICE, SETTLED, True)] * 9
    return outcome


async def test_a_waiter_that_is_cancelled_loses_the_answer_and_not_the_job(database: Database, ledger: Ledger) -> None:
    await books.fund(database, "acc", 10 * PRICE)
    for verb in (_hold(ledger, "gen_1", PRICE), _settle(ledger, "gen_1", PRICE)):
        waiter = asyncio.create_task(verb)
        await asyncio.sleep(0)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
    await ledger.flush()
    assert await _balance(database) == Balance(credits=10 * PRICE, usage=PRICE, held=0, available=9 * PRICE)


async def test_a_hold_can_be_recovered_for_what_was_delivered(database: Database, ledger: Ledger) -> None:
    await books.fund(database, "acc", 10 * PRICE)
    await _hold(ledger, "gen_1", PRICE)
    row = {**books.generation("gen_1", "acc"), "charge": 5}
    (outcome,) = await database.commit([CloseJob(id="gen_1", charge=5, state=RECOVERED, generation=row)])
    assert outcome == Closed(5, RECOVERED, True)
    assert await _settle(ledger, "gen_1", PRICE) == Closed(5, RECOVERED, False)


async def _limit(url: str) -> tuple[Any, ...]:
    (row,) = await _rows(url, "SELECT posted, held, period_start, period_end FROM account WHERE id = 'lim'")
    return row


@pytest.mark.parametrize("reset", ["daily", "weekly", "monthly"])
async def test_a_limit_starts_anew_with_its_period(database: Database, ledger: Ledger, migrated_database_url: str, reset: str) -> None:
    now = now_ms()
    start, end = period(reset, now)
    await books.fund(database, "acc", 10 * PRICE)
    await books.limit(database, "lim", PRICE, reset=reset, now=now)
    await _hold(ledger, "gen_1", PRICE, "lim")
    await _settle(ledger, "gen_1", PRICE)
    await database.write(start_period, id="lim", now=end - 1)
    assert await _limit(migrated_database_url) == (-PRICE, 0, start, end)
    for _ in range(2):
        await database.write(start_period, id="lim", now=end)
        assert await _limit(migrated_database_url) == (0, 0, *period(reset, end))
    assert await _hold(ledger, "gen_2", PRICE, "lim") == Held(PRICE)
    assert await _hold(ledger, "gen_3", 1, "lim") == Refused("lim", 0, PRICE)


async def test_a_charge_after_midnight_counts_in_the_new_day_even_if_nobody_has_started_it(
    database: Database, ledger: Ledger, migrated_database_url: str
) -> None:
    await books.fund(database, "acc", 10 * PRICE)
    await books.limit(database, "lim", 5 * PRICE, reset="daily", now=now_ms() - 3 * DAY)
    await books.sql(migrated_database_url, "UPDATE account SET posted = -7 WHERE id = 'lim'")
    for id in ("gen_1", "gen_2"):
        await _hold(ledger, id, PRICE, "lim")
        await _settle(ledger, id, PRICE)
    now = now_ms()
    await database.write(start_period, id="lim", now=now)
    assert await _limit(migrated_database_url) == (-2 * PRICE, 0, *period("daily", now))


async def test_a_charge_before_midnight_does_not_count_in_the_new_day(
    database: Database, ledger: Ledger, migrated_database_url: str
) -> None:
    await books.fund(database, "acc", 10 * PRICE)
    await books.limit(database, "lim", 5 * PRICE, reset="daily", now=now_ms() + DAY)
    await _hold(ledger, "gen_1", PRICE, "lim")
    await _settle(ledger, "gen_1", PRICE)
    assert (await _limit(migrated_database_url))[:2] == (0, 0)


async def test_when_too_much_is_waiting_holds_are_refused_and_ends_are_taken() -> None:
    gate = asyncio.Event()

    async def run(jobs: list[Job]) -> list[Outcome]:
        await gate.wait()
        return [Closed(0, VOID, True) for _ in jobs]

    commit = Commit(run)
    hold = HoldJob(id="gen", account_id="acc", limits=(), amount=1, boot_id="boot_1")
    waiting = [asyncio.create_task(commit.submit(hold)) for _ in range(QUEUE_MAX + 512)]
    await asyncio.sleep(0.2)
    waiting += [asyncio.create_task(commit.submit(hold)) for _ in range(512)]
    await asyncio.sleep(0.2)
    with pytest.raises(LedgerBusy):
        await commit.submit(hold)
    end = asyncio.create_task(commit.submit(CloseJob(id="gen", charge=0, state=VOID)))
    await asyncio.sleep(0)
    gate.set()
    assert await end == Closed(0, VOID, True)
    await asyncio.gather(*waiting, return_exceptions=True)
