"""The audit log is a chain: what was changed, taken out or put in shows, and what is too old leaves it at the front without a gap."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from metering.database import Database
from metering.notary import Notary
from metering.signing import Signer
from policy import audit
from policy.audit import Deed
from tests import books

DAY = 86_400_000
SIGNER = Signer(b"s" * 32)


@pytest.fixture
async def database(migrated_database_url: str) -> AsyncIterator[Database]:
    async with books.connected(migrated_database_url) as database:
        yield database


async def record(database: Database, times: int = 5) -> None:
    for i in range(times):
        deed = Deed(actor="key_1", action="limits.change", account_id=f"acc_{i % 2}", change={"concurrency": i})
        await database.write(audit.record, deed, now=books.START + i * DAY)


async def broken(database: Database) -> list[str]:
    return await database.read(lambda session: list(audit.broken(session)))


async def drop_trigger(url: str) -> None:
    await books.sql(url, "DROP TRIGGER audit_fixed" + (" ON audit" if url.startswith("postgres") else ""))


async def test_a_chain_that_nobody_touched_is_whole(database: Database) -> None:
    assert await broken(database) == []
    await record(database)
    assert await broken(database) == []
    assert [row.seq for row in await database.read(audit.page, after=0, account_id="acc_1")] == [2, 4]


async def test_deeds_of_many_at_once_form_one_chain(database: Database) -> None:
    deed = Deed(actor="key_1", action="key.create", account_id="acc")
    numbers = await asyncio.gather(*(database.write(audit.record, deed, now=books.START) for _ in range(20)))
    assert sorted(numbers) == list(range(1, 21))
    assert await broken(database) == []


async def test_a_row_cannot_be_changed_and_a_change_past_the_trigger_shows(database: Database, migrated_database_url: str) -> None:
    await record(database)
    with pytest.raises(Exception, match="never changed"):
        await books.sql(migrated_database_url, "UPDATE audit SET actor = 'key_2' WHERE seq = 3")
    await drop_trigger(migrated_database_url)
    await books.sql(migrated_database_url, "UPDATE audit SET actor = 'key_2' WHERE seq = 3")
    assert await broken(database) == ["number 3 was changed"]


@pytest.mark.parametrize("gone", [1, 3])
async def test_a_row_that_is_taken_out_shows(database: Database, migrated_database_url: str, gone: int) -> None:
    await record(database)
    await books.sql(migrated_database_url, f"DELETE FROM audit WHERE seq = {gone}")
    assert any("missing" in line for line in await broken(database))


async def test_what_is_too_old_leaves_at_the_front_and_the_rest_is_still_whole(database: Database, migrated_database_url: str) -> None:
    await record(database)
    assert await database.write(audit.prune, until=books.START + 2 * DAY) == 2
    assert await broken(database) == []
    assert await database.write(audit.prune, until=books.START + 99 * DAY) == 2, "the newest stays"
    await record(database, 2)
    assert [row.seq for row in await database.read(audit.page, after=0)] == [5, 6, 7]
    assert await broken(database) == []
    await books.sql(migrated_database_url, "DELETE FROM audit WHERE seq = 5")
    assert await broken(database) == ["1 deeds are missing before number 6"]


async def cut(database: Database, *public_keys: str) -> list[str]:
    return await database.read(lambda session: list(audit.cut(session, public_keys or (SIGNER.public_key,))))


@pytest.fixture
async def signed(database: Database) -> Database:
    """Five deeds, of which the day's checkpoint knows four."""
    await record(database, 4)
    assert await cut(database) == [], "without a checkpoint nobody can know"
    await Notary(database, SIGNER, beside=audit.head).checkpoint(now=books.START)
    await database.write(audit.record, Deed(actor="key_1", action="key.create", account_id="acc"), now=books.START)
    return database


async def test_an_end_that_was_cut_off_shows_by_the_signed_checkpoint(signed: Database, migrated_database_url: str) -> None:
    assert await cut(signed) == []
    await drop_trigger(migrated_database_url)
    await books.sql(migrated_database_url, "DELETE FROM audit WHERE seq > 3")
    assert await broken(signed) == [], "the chain alone does not show it"
    [found] = await cut(signed)
    assert found.startswith("number 4 is missing")
    await record(signed, 2)
    assert await broken(signed) == []
    [found] = await cut(signed)
    assert "written anew" in found


@pytest.mark.parametrize("change", ["beside_seq = 3", "beside_hash = root", "beside_signature = signature", "beside_hash = NULL"])
async def test_a_checkpoint_that_was_changed_vouches_for_nothing(signed: Database, migrated_database_url: str, change: str) -> None:
    await books.sql(migrated_database_url, f"UPDATE signed_checkpoint SET {change}")
    [found] = await cut(signed)
    assert "is not signed by this installation" in found


async def test_only_this_installations_keys_sign_old_ones_included(signed: Database) -> None:
    assert await cut(signed, "0" * 64, SIGNER.public_key) == []
    [found] = await cut(signed, "0" * 64)
    assert "is not signed by this installation" in found


async def test_a_signed_end_that_has_gone_with_its_days_is_not_missed(signed: Database) -> None:
    assert await signed.write(audit.prune, until=books.START + 10 * DAY) == 4
    assert await cut(signed) == []
