"""Signed checkpoints on both databases: one a day, over everything sealed by then, and no change to what is sealed goes unseen (I16)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from metering import notary, seal
from metering.database import Database
from metering.money import now_ms
from metering.notary import Notary
from metering.tables import SignedCheckpoint
from tests import books
from tests.books import START
from tests.chains import DAY_MS, SIGNER, add, chain_of, i16, proven, seal_all


@pytest.fixture
async def database(migrated_database_url: str) -> AsyncIterator[Database]:
    async with books.opened(migrated_database_url) as database:
        yield database


async def test_one_checkpoint_a_day_whoever_asks_and_however_often(database: Database, migrated_database_url: str) -> None:
    await books.fund(database, "acc", 5)
    await seal_all(database)
    async with books.connected(migrated_database_url) as other:
        asking = [Notary(each, SIGNER) for each in (database, other) * 3]
        made = await asyncio.gather(*(keeper.checkpoint(now=START + ms) for ms, keeper in enumerate(asking)))
    assert sorted(new for _, new in made) == [False] * 5 + [True]
    assert len({row.signature for row, _ in made}) == 1
    first = made[0][0]
    assert (first.day, first.accounts, first.public_key) == ("2025-10-09", 1, SIGNER.public_key)
    assert notary.is_genuine(first)
    next_day, new = await Notary(database, SIGNER).checkpoint(now=START + DAY_MS)
    assert (new, next_day.day) == (True, "2025-10-10")


async def test_what_is_sealed_after_a_checkpoint_is_not_in_it_whatever_the_clocks_say(
    database: Database, migrated_database_url: str
) -> None:
    for name in ("acc", "acc_2"):
        await books.fund(database, name, 5)
    await seal_all(database)
    keeper = Notary(database, SIGNER)
    made, _ = await keeper.checkpoint(now=START + 1000)
    await add(database, "t2")
    await seal_all(database, now=START - 50_000)
    await add(database, "t3")
    await seal_all(database, now=START + 1000)
    found = await proven(database, keeper)
    assert (found.checkpoint_seq, found.head_seq, found.only_chained) == (1, 3, 2)
    assert (await i16(database, now=START)).ok
    rows = await books.sql(migrated_database_url, "SELECT sealed_at FROM seal WHERE account_id = 'acc' ORDER BY seq")
    assert [int(str(at)) > made.created_at for (at,) in rows] == [False, True, True]


async def test_along_a_chain_the_moment_of_sealing_never_falls(database: Database, migrated_database_url: str) -> None:
    for number, now in enumerate((START + 500, START + 100, START + 900)):
        await add(database, f"t{number}")
        await seal_all(database, now=now)
    rows = await books.sql(migrated_database_url, "SELECT sealed_at FROM seal ORDER BY seq")
    assert [int(str(at)) - START for (at,) in rows] == [500, 500, 900]


async def test_a_checkpoint_that_a_dead_process_left_unsigned_is_finished_the_same(database: Database) -> None:
    await books.fund(database, "acc", 5)
    await seal_all(database)
    await database.write(notary._fix, day="2025-10-09", now=START + 10)
    await add(database, "t2")
    await seal_all(database, now=START + 5)
    assert await database.read(notary.latest) is None
    keeper = Notary(database, SIGNER)
    assert not await keeper.has(now=START + DAY_MS)
    await keeper.checkpoint(now=START + DAY_MS)
    assert await keeper.has(now=START + DAY_MS)
    first = await database.read(lambda session: session.get_one(SignedCheckpoint, "2025-10-09"))
    assert first.created_at == START + 10
    assert notary.is_genuine(first)
    _, tree = notary.plant([("acc", notary.leaf("acc", 1, (await chain_of(database))[0].hash))])
    assert (first.accounts, first.root) == (1, tree.root.hex())


async def test_every_account_has_its_place_in_a_checkpoint_over_many(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a page of them, with names that databases sort differently; limits and accounts without entries are not in it."""
    monkeypatch.setattr("metering.notary.PAGE", 5)
    names = [f"acc_{letter}{number}" for letter in ("a", "B", "é", "_", "-") for number in range(3)]
    for name in names:
        await books.fund(database, name, 5)
    await books.fund(database, "acc_empty", 0)
    await books.limit(database, "lim_1", 5)
    await seal_all(database)
    keeper = Notary(database, SIGNER)
    made, _ = await keeper.checkpoint(now=START + 1)
    assert made.accounts == len(names)
    for name in names:
        assert (await proven(database, keeper, name)).checkpoint_seq == 1
    assert await keeper.place("acc_empty") is None
    await books.fund(database, "acc_new", 5)
    await seal_all(database)
    assert (await proven(database, keeper, "acc_new")).checkpoint_day is None
    assert (await i16(database, now=START)).ok


async def test_a_proof_that_goes_on_has_the_checkpoint_only_where_it_covers_it(database: Database) -> None:
    await books.fund(database, "acc", 5)
    await add(database, "t2", at=START + 1)
    await seal_all(database)
    keeper = Notary(database, SIGNER)
    await keeper.checkpoint(now=START + 10)
    await add(database, "t3", "t4", at=START + 20)
    await seal_all(database)
    assert [(await proven(database, keeper, after_seq=after)).checkpoint_seq for after in range(5)] == [2, 2, 2, None, None]
    assert await database.read(seal.head_at, "acc", 5) is None


async def test_books_without_entries_have_a_checkpoint_too(database: Database) -> None:
    made, _ = await Notary(database, SIGNER).checkpoint(now=START)
    assert made.accounts == 0
    assert (await i16(database)).figure == "0 of 0 entries sealed, checkpoint 2025-10-09 over 0 accounts"


GUARDS: dict[str, list[str]] = {
    "sqlite": ["DROP TRIGGER entry_no_UPDATE", "DROP TRIGGER entry_no_DELETE"],
    "postgresql": ["ALTER TABLE entry DISABLE TRIGGER entry_append_only"],
}
OF_DAY = "checkpoint 2025-10-09"
TAMPERED: list[Any] = [
    pytest.param("UPDATE entry SET amount = amount + 1 WHERE transaction_id = 't2' AND leg = 0", ["t2"], id="an-amount"),
    pytest.param("UPDATE entry SET reason = 'x' WHERE transaction_id = 't2' AND leg = 0", ["t2"], id="a-reason"),
    pytest.param("UPDATE entry SET kind = 'charge' WHERE transaction_id = 't2' AND leg = 0", ["t2"], id="a-kind"),
    pytest.param("UPDATE entry SET at = at + 1 WHERE transaction_id = 't2' AND leg = 0", ["t2"], id="a-time"),
    pytest.param("UPDATE entry SET account_id = 'acc_2' WHERE transaction_id = 't2' AND leg = 0", ["t2"], id="an-owner"),
    pytest.param("DELETE FROM entry WHERE transaction_id = 't2'", ["t2"], id="an-entry-that-is-gone"),
    pytest.param(f"UPDATE seal SET hash = '{'0' * 64}' WHERE transaction_id = 't2'", ["t2", "t3", OF_DAY], id="a-hash"),
    pytest.param("UPDATE seal SET hash = 'rubbish' WHERE transaction_id = 't2'", ["t2", "t3", OF_DAY], id="a-hash-that-is-none"),
    pytest.param("UPDATE seal SET transaction_id = 'made_up' WHERE transaction_id = 't2'", ["made_up"], id="a-seal-of-nothing"),
    pytest.param("DELETE FROM seal WHERE transaction_id = 't2'", ["acc seq 3 is missing", OF_DAY], id="a-seal-that-is-gone"),
    pytest.param("DELETE FROM seal WHERE seq = 1", ["acc seq 1 is missing", OF_DAY], id="beginnings"),
    pytest.param("UPDATE seal SET seq = 9 WHERE transaction_id = 't4'", ["acc seq 5 is missing"], id="a-number"),
    pytest.param(f"UPDATE signed_checkpoint SET root = '{'0' * 64}'", [OF_DAY], id="a-root"),
    pytest.param("UPDATE signed_checkpoint SET signature = public_key", [OF_DAY], id="a-signature"),
    pytest.param("UPDATE signed_checkpoint SET accounts = accounts + 1", [OF_DAY], id="a-number-of-accounts"),
    pytest.param("UPDATE signed_checkpoint SET created_at = 0", [OF_DAY], id="a-moment"),
    pytest.param("DELETE FROM seal", [OF_DAY], id="all-seals"),
]


@pytest.fixture
async def sealed(database: Database) -> None:
    """Two chains under a checkpoint, and two entries more."""
    await books.fund(database, "acc", 5)
    await books.fund(database, "acc_2", 5)
    await add(database, "t1", "t2", at=START + 1)
    await seal_all(database)
    await Notary(database, SIGNER).checkpoint(now=START + 10)
    await add(database, "t3", "t4", at=START + 20)
    await seal_all(database)


@pytest.mark.usefixtures("sealed")
@pytest.mark.parametrize(("statement", "rows"), TAMPERED)
async def test_tampering_is_seen_and_named(database: Database, migrated_database_url: str, statement: str, rows: list[str]) -> None:
    assert (await i16(database, now=START + 20)).ok
    await books.sql(migrated_database_url, *GUARDS[migrated_database_url.partition(":")[0]], statement)
    check = await i16(database, now=START + 20)
    assert (check.ok, check.rows) == (False, rows)
    assert check.figure.endswith(f", {len(rows)} wrong")


@pytest.mark.usefixtures("sealed")
async def test_an_entry_that_nobody_sealed_for_a_day_is_named(database: Database) -> None:
    await add(database, *(f"u{number:02}" for number in range(25)), at=START + 100)
    assert (await i16(database, now=START + 100 + DAY_MS)).ok
    check = await i16(database, now=START + 101 + DAY_MS)
    assert check.rows == [f"u{number:02}" for number in range(20)]
    assert check.figure.startswith("6 of 31 entries sealed, checkpoint 2025-10-09 over 2 accounts")
    assert check.figure.endswith(", 25 wrong")


async def test_books_that_are_new_to_sealing_have_a_day_for_it(database: Database) -> None:
    await add(database, "t1", "t2")
    assert (await i16(database)).ok
    now = now_ms()
    await database.write(seal.seal, ["t1"], now=now)
    assert (await i16(database, now=now + DAY_MS)).ok
    assert (await i16(database, now=now + DAY_MS + 1)).rows == ["t2"]
