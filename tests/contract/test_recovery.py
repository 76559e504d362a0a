"""Holds of processes that died: only the dead are fenced, what is fenced holds nothing new, and every hold ends once, on both databases."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest

from metering import recovery
from metering.batch import RECOVERED, SETTLED, VOID, Closed, Held, Refused
from metering.database import LEASE_MS, SILENT_MS, Database
from metering.errors import DatabaseUnavailable
from metering.ledger import Balance, Ledger, balance, start_boot
from metering.money import now_ms
from metering.recovery import BATCH_MAX
from metering.verify import verify
from tests import books, servers
from tests.books import START

PRICE = books.COST.charge
LIVING = "boot_1"
DEAD = "boot_2"


@pytest.fixture
def postgres(postgres_url: str, postgres_template: str) -> Iterator[str]:
    with servers.database(postgres_url, template=postgres_template) as url:
        yield url


@pytest.fixture
def sqlite(sqlite_template: Path, tmp_path: Path) -> str:
    shutil.copy(sqlite_template, tmp_path / "tollway.db")
    return f"sqlite:///{tmp_path}/tollway.db"


@pytest.fixture
async def database(migrated_database_url: str) -> AsyncIterator[Database]:
    """With a living boot, a dead one, and an account; afterwards the books are right, whatever happened."""
    async with books.opened(migrated_database_url) as database:
        await database.write(start_boot, id=DEAD, now=START)
        await books.fund(database, "acc", 100 * PRICE)
        yield database
        checks = await database.read(verify, now=now_ms())
        assert [check for check in checks if not check.ok] == []


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database, LIVING)


@pytest.fixture
def dead(database: Database) -> Ledger:
    """The ledger of the process that dies in these tests, or seems to."""
    return Ledger(database, DEAD)


async def _hold(ledger: Ledger, id: str, amount: int = 2 * PRICE, limits: tuple[str, ...] = ()) -> Held | Refused:
    return await ledger.hold(id, account_id="acc", limits=limits, amount=amount)


async def _settle(ledger: Ledger, id: str) -> Closed:
    return await ledger.settle(id, charge=PRICE, held=2 * PRICE, generation=books.generation(id, "acc"))


async def _checkpoint(database: Database, id: str, *, charge: int = PRICE) -> None:
    row = {**books.generation(id, "acc"), "outcome": "recovered", "charge": charge, "shortfall": PRICE - charge}
    await database.write(recovery.checkpoint, {id: row})


async def _fence(database: Database, *, dead: tuple[str, ...] = (DEAD,), own: str = LIVING, now: int = START) -> list[str]:
    return await database.write(recovery.fence, own=own, now=now, is_dead=lambda session, id, silent_ms: id in dead)


async def _recover(database: Database, ledger: Ledger) -> list[Closed]:
    await _fence(database)
    return await asyncio.gather(*(ledger.recover(job) for job in await database.read(recovery.orphans, [DEAD])))


async def _balance(database: Database) -> Balance:
    return await database.read(balance, "acc")


async def _fenced(url: str) -> set[object]:
    return {id for (id,) in await books.sql(url, "SELECT id FROM boot WHERE fenced = 1")}


async def test_a_boot_lives_as_long_as_its_lock_and_its_heartbeat(postgres: str) -> None:
    """Silent for a moment: alive. Silent without its lock: dead. Silent for longer than the lease: dead even with it."""
    async with books.opened(postgres) as database, books.connected(postgres) as process:
        for boot_id in (DEAD, "boot_unlocked"):
            await database.write(start_boot, id=boot_id, now=START)
        await process.live(DEAD)
        fence = partial(database.write, recovery.fence, own=LIVING, is_dead=database.is_dead)
        await fence(now=START + SILENT_MS)
        assert await _fenced(postgres) == set()
        await fence(now=START + LEASE_MS)
        assert await _fenced(postgres) == {"boot_unlocked"}
        await fence(now=START + LEASE_MS + 1)
        assert await _fenced(postgres) == {"boot_unlocked", DEAD}


async def test_a_lock_ends_with_its_process(postgres: str) -> None:
    async with books.connected(postgres) as database:
        async with books.connected(postgres) as process:
            await process.live(DEAD)
            await process.live(DEAD)
            assert not await database.read(database.is_dead, DEAD, SILENT_MS + 1)
        assert await database.read(database.is_dead, DEAD, SILENT_MS + 1)


async def test_a_sqlite_file_takes_one_serving_process_to_which_every_other_boot_is_dead(sqlite: str) -> None:
    async with books.connected(sqlite) as database:
        async with books.opened(sqlite) as process:
            await process.live(LIVING)
            await process.live(LIVING)
            assert await process.read(process.is_dead, DEAD, 0)
            with pytest.raises(DatabaseUnavailable, match="another process serves"):
                await database.live(DEAD)
            assert not await database.read(database.is_dead, LIVING, 10 * LEASE_MS), "without the lock nobody is dead"
        await database.live(DEAD)


async def test_fencing_spares_the_living_and_names_only_boots_that_left_something_open(
    database: Database, ledger: Ledger, dead: Ledger, migrated_database_url: str
) -> None:
    assert await _fence(database) == []
    assert await _fenced(migrated_database_url) == {DEAD}
    await database.write(start_boot, id="boot_3", now=START)
    await _hold(Ledger(database, "boot_3"), "gen_3")
    await _hold(ledger, "gen_1")
    assert await _fence(database, dead=("boot_3", LIVING)) == ["boot_3"]
    assert await _fence(database, dead=()) == ["boot_3"], "what an earlier fencing left is found again"
    assert await _fenced(migrated_database_url) == {DEAD, "boot_3"}


async def test_a_fenced_boot_holds_nothing_new(database: Database, ledger: Ledger, dead: Ledger) -> None:
    await _hold(dead, "gen_before")
    await _fence(database)
    with pytest.raises(DatabaseUnavailable, match="taken for dead"):
        await _hold(dead, "gen_after")
    assert await _hold(dead, "gen_after", 1000 * PRICE) == Refused("acc", 98 * PRICE, 2 * PRICE), "what lacks room is refused for that"
    assert await _hold(dead, "gen_before") == Held(2 * PRICE), "what it had is still its own until recovery ends it"
    assert await _hold(ledger, "gen_1") == Held(2 * PRICE)
    assert (await _balance(database)).held == 4 * PRICE
    assert [job.id for job in await database.read(recovery.orphans, [DEAD])] == ["gen_before"]


async def test_a_fenced_boot_hears_of_it_with_its_next_heartbeat(database: Database, migrated_database_url: str) -> None:
    assert await database.write(recovery.beat, boot_id=DEAD, now=START + 1000)
    await _fence(database)
    assert not await database.write(recovery.beat, boot_id=DEAD, now=START + 2000)
    assert not await database.write(recovery.beat, boot_id="boot_unknown", now=START)
    assert await books.sql(migrated_database_url, f"SELECT heartbeat_at FROM boot WHERE id = '{DEAD}'") == [(START + 1000,)]


async def test_what_was_delivered_at_the_last_checkpoint_is_charged(
    database: Database, ledger: Ledger, dead: Ledger, migrated_database_url: str
) -> None:
    await books.limit(database, "lim", 10 * PRICE)
    await _hold(dead, "gen_1", limits=("lim",))
    await _checkpoint(database, "gen_1", charge=0)
    await _checkpoint(database, "gen_1")
    assert await _recover(database, ledger) == [Closed(PRICE, RECOVERED, True)]
    assert await _balance(database) == Balance(credits=100 * PRICE, usage=PRICE, held=0, available=99 * PRICE)
    columns = "outcome, charge, shortfall, held, completion"
    rows = await books.sql(migrated_database_url, f"SELECT {columns} FROM generation")
    assert rows == [("recovered", PRICE, 0, 2 * PRICE, books.USAGE.completion)]
    assert await books.sql(migrated_database_url, "SELECT posted, held FROM account WHERE id = 'lim'") == [(-PRICE, 0)]


async def test_a_hold_without_a_checkpoint_charges_nothing(
    database: Database, ledger: Ledger, dead: Ledger, migrated_database_url: str
) -> None:
    await _hold(dead, "gen_1")
    assert await _recover(database, ledger) == [Closed(0, RECOVERED, True)]
    assert await _balance(database) == Balance(credits=100 * PRICE, usage=0, held=0, available=100 * PRICE)
    assert await books.sql(migrated_database_url, "SELECT * FROM generation") == []


@pytest.mark.parametrize("held", [1, PRICE - 1, PRICE, PRICE + 1])
async def test_a_recovered_charge_is_at_most_the_hold_and_at_most_the_checkpoint(
    database: Database, ledger: Ledger, dead: Ledger, migrated_database_url: str, held: int
) -> None:
    await _hold(dead, "gen_1", held)
    await _checkpoint(database, "gen_1")
    assert await _recover(database, ledger) == [Closed(min(held, PRICE), RECOVERED, True)]
    rows = await books.sql(migrated_database_url, "SELECT held, charge, shortfall FROM generation")
    assert rows == [(held, min(held, PRICE), PRICE - min(held, PRICE))]


async def test_a_late_settle_of_a_recovered_hold_changes_nothing(
    database: Database, ledger: Ledger, dead: Ledger, migrated_database_url: str
) -> None:
    """The process was only paused: it wakes up, settles, voids and extends what is no longer its own."""
    for id in ("gen_1", "gen_2"):
        await _hold(dead, id)
    await _checkpoint(database, "gen_1", charge=PRICE // 2)
    await _recover(database, ledger)
    before = await _balance(database), await books.sql(migrated_database_url, "SELECT * FROM generation ORDER BY id")
    assert await _settle(dead, "gen_1") == Closed(PRICE // 2, RECOVERED, False)
    assert await _settle(dead, "gen_2") == Closed(0, RECOVERED, False)
    assert await dead.void("gen_1", generation=None) == Closed(PRICE // 2, RECOVERED, False)
    assert isinstance(await dead.extend("gen_1", PRICE), Refused)
    assert before == (await _balance(database), await books.sql(migrated_database_url, "SELECT * FROM generation ORDER BY id"))


async def test_what_ended_between_fencing_and_recovery_keeps_its_end(database: Database, ledger: Ledger, dead: Ledger) -> None:
    for id in ("gen_1", "gen_2"):
        await _hold(dead, id)
        await _checkpoint(database, id, charge=PRICE // 2)
    await _fence(database)
    jobs = await database.read(recovery.orphans, [DEAD])
    await _settle(dead, "gen_1")
    await dead.void("gen_2", generation=None)
    assert {job.id: await ledger.recover(job) for job in jobs} == {
        "gen_1": Closed(PRICE, SETTLED, False),
        "gen_2": Closed(0, VOID, False),
    }
    assert (await _balance(database)).usage == PRICE


async def test_recovery_twice_changes_nothing(database: Database, ledger: Ledger, dead: Ledger) -> None:
    await _hold(dead, "gen_1")
    await _checkpoint(database, "gen_1")
    await _fence(database)
    [job] = await database.read(recovery.orphans, [DEAD])
    other = Ledger(database, "boot_3")
    assert await ledger.recover(job) == Closed(PRICE, RECOVERED, True)
    assert await other.recover(job) == Closed(PRICE, RECOVERED, False)
    assert await _recover(database, other) == []
    assert (await _balance(database)).usage == PRICE


async def test_a_checkpoint_of_an_ended_hold_changes_nothing(database: Database, dead: Ledger, migrated_database_url: str) -> None:
    for id in ("gen_settled", "gen_void", "gen_open"):
        await _hold(dead, id)
    await _settle(dead, "gen_settled")
    await dead.void("gen_void", generation=None)
    rows = {id: books.generation(id, "acc") for id in ("gen_settled", "gen_void", "gen_open", "gen_unknown")}
    await database.write(recovery.checkpoint, rows)
    assert await books.sql(migrated_database_url, "SELECT id FROM hold WHERE progress IS NOT NULL") == [("gen_open",)]


async def test_more_orphans_than_a_batch_takes_are_all_ended(database: Database, ledger: Ledger, dead: Ledger) -> None:
    await asyncio.gather(*(_hold(dead, f"gen_{number}", 1) for number in range(BATCH_MAX + 7)))
    assert [len(await _recover(database, ledger)) for _ in range(3)] == [BATCH_MAX, 7, 0]
    assert (await _balance(database)).held == 0
