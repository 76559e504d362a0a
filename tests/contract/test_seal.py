"""Sealing on both databases: gapless chains whoever seals and whatever comes late, nothing forgotten, nothing sealed twice."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.api.ledger import seal_newest
from metering import seal
from metering.database import Database
from metering.errors import DatabaseUnavailable
from metering.ledger import Ledger
from metering.money import now_ms
from metering.seal import BEGIN
from metering.sealer import LOOK_BACK_EVERY, LOOK_BACK_MS, Sealer
from tests import books
from tests.books import START
from tests.chains import CASH, DAY_MS, add, assert_chained, chain_of, i16, seal_all


@pytest.fixture
async def database(migrated_database_url: str) -> AsyncIterator[Database]:
    async with books.opened(migrated_database_url) as database:
        yield database


async def test_customers_legs_are_sealed_once_in_the_order_of_time_and_the_houses_never(database: Database) -> None:
    await add(database, "t3", "t1", at=START + 2)
    await add(database, "t2", at=START + 1)
    assert await seal_all(database) == 3
    assert await seal_all(database) == 0
    links = await chain_of(database)
    assert [link.transaction_id for link in links] == ["t2", "t1", "t3"]
    assert_chained(links)
    assert await chain_of(database, CASH) == []


async def test_a_late_entry_with_an_older_time_comes_after_those_that_are_sealed(database: Database) -> None:
    await add(database, "t1", "t2", at=START + 10)
    await seal_all(database)
    await add(database, "late", at=START)
    await add(database, "t3", at=START + 20)
    assert await seal_all(database) == 2
    links = await chain_of(database)
    assert [link.transaction_id for link in links] == ["t1", "t2", "late", "t3"]
    assert_chained(links)


async def test_many_accounts_have_a_chain_each(database: Database) -> None:
    names = [f"acc_{number}" for number in range(40)]
    for turn in range(3):
        for name in names:
            await add(database, f"{name}_{turn}", account_id=name, at=START + turn)
        await seal_all(database, limit=7)
    for name in names:
        links = await chain_of(database, name)
        assert [link.transaction_id for link in links] == [f"{name}_{turn}" for turn in range(3)]
        assert_chained(links, name)


async def test_sealers_that_run_at_once_seal_every_entry_once(database: Database, migrated_database_url: str) -> None:
    """Several in this process and two that are other processes, as far as the database can tell, while entries are being added."""
    await books.fund(database, "acc", 10**12)
    ledger = Ledger(database, "boot_1")

    async def spend(number: int) -> None:
        await ledger.hold(f"gen_{number}", account_id="acc", limits=(), amount=books.COST.charge)
        row = books.generation(f"gen_{number}", "acc")
        await ledger.settle(f"gen_{number}", charge=books.COST.charge, held=books.COST.charge, generation=row)

    async def spend_all() -> None:
        for first in range(0, 300, 30):
            await asyncio.gather(*(spend(number) for number in range(first, first + 30)))

    async with books.connected(migrated_database_url) as second, books.connected(migrated_database_url) as third:
        sealers = [Sealer(each, rows_max=17) for each in (database, database, second, third)]
        spending = asyncio.create_task(spend_all())
        sealed = 0
        while not spending.done():
            sealed += sum(await asyncio.gather(*(sealer.step() for sealer in sealers)))
        await spending
        sealed += await Sealer(database, rows_max=17).sweep()
    links = await chain_of(database)
    assert len(links) == sealed == 301
    assert_chained(links)
    assert (await i16(database)).ok


async def test_a_window_costs_the_same_however_much_is_sealed_and_goes_on_where_it_ended(database: Database) -> None:
    """Entries of one moment, too: their ids decide."""
    await add(database, *(f"t{number:03}" for number in range(25)))
    seen, after, full = [], BEGIN, True
    while full:
        found = await database.read(seal.window, after=after, limit=10)
        assert len(found.unsealed) <= 10
        seen += found.unsealed
        after, full = found.next, found.full
    assert sorted(seen) == [f"t{number:03}" for number in range(25)]
    assert len(seen) == 25


async def test_a_sealer_looks_forward_at_every_step_and_back_every_so_often(database: Database) -> None:
    now = now_ms()
    await add(database, "old", at=now - 10 * LOOK_BACK_MS)
    await add(database, "t1", at=now)
    sealer = Sealer(database, rows_max=100)
    assert await sealer.step() == 2
    await add(database, "t2", at=now + 1)
    assert await sealer.step() == 1
    await add(database, "late", at=now - LOOK_BACK_MS // 2)
    await add(database, "lost", at=now - 5 * LOOK_BACK_MS)
    assert await sealer.step() == 0
    assert [await sealer.step() for _ in range(LOOK_BACK_EVERY)].count(1) == 1
    assert [link.transaction_id for link in await chain_of(database)] == ["old", "t1", "t2", "late"]
    assert await Sealer(database, rows_max=100).sweep() == 1


async def test_an_entry_from_the_future_hides_nothing(database: Database) -> None:
    now = now_ms()
    await add(database, "future", at=now + DAY_MS)
    sealer = Sealer(database, rows_max=100)
    assert await sealer.step() == 1
    await add(database, "t1", at=now)
    assert sum([await sealer.step() for _ in range(LOOK_BACK_EVERY)]) == 1


async def test_a_new_sealer_goes_on_near_where_the_last_one_stopped(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not read all books again at every start: an entry far below is left to the sweep."""
    await add(database, *(f"t{number}" for number in range(30)), at=START + 10 * LOOK_BACK_MS)
    await Sealer(database, rows_max=100).step()
    await add(database, "far_below", at=START)
    await add(database, "a_bit_below", at=START + 10 * LOOK_BACK_MS - LOOK_BACK_MS // 2)
    await add(database, *(f"new{number}" for number in range(30)), at=START + 20 * LOOK_BACK_MS)
    monkeypatch.setattr("metering.sealer.WINDOW", 4)
    assert await Sealer(database, rows_max=100).step() == 31
    assert await Sealer(database, rows_max=100).sweep() == 1


async def test_a_sealer_that_finds_nothing_sealed_begins_at_the_beginning(database: Database) -> None:
    assert await Sealer(database, rows_max=3).step() == 0
    await add(database, *(f"t{number}" for number in range(10)))
    assert await Sealer(database, rows_max=3).step() == 10
    assert_chained(await chain_of(database))


async def test_a_proof_seals_what_is_new_in_its_account_and_leaves_a_backlog_alone(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(database, *(f"t{number}" for number in range(5)))
    await add(database, "other", account_id="acc_other")
    assert await seal_newest(database, "acc", rows_max=2) == 0
    assert len(await chain_of(database)) == 5
    assert await chain_of(database, "acc_other") == []
    monkeypatch.setattr("gateway.api.ledger.LOOK_BACK", 3)
    await add(database, *(f"u{number}" for number in range(3)), at=START + 1)
    assert await seal_newest(database, "acc", rows_max=2) == 3
    assert len(await chain_of(database)) == 5


async def test_one_process_leads_and_another_takes_over_when_it_is_gone(database: Database, migrated_database_url: str) -> None:
    if migrated_database_url.startswith("sqlite"):
        assert await database.lead()
        return
    async with books.connected(migrated_database_url) as other:
        assert await database.lead()
        assert await database.lead()
        assert not await other.lead()
        await books.sql(migrated_database_url, "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
        async with asyncio.timeout(10):
            while not await other.lead():
                await asyncio.sleep(0.05)
        assert not await _led(database)


async def _led(database: Database) -> bool:
    """The first answer after a lost connection."""
    for _ in range(2):
        try:
            return await database.lead()
        except DatabaseUnavailable:
            continue
    return True
