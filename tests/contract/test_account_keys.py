"""The keys of an account as their managers change them: how many there can be, what a new limit counts, and keys older than their hash."""

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest

from metering import ledger
from metering.database import Database
from metering.errors import UnknownAccount
from metering.ledger import Ledger
from metering.verify import verify
from policy import account_keys, keys
from policy.account_keys import Change, public_id
from policy.errors import Forbidden, InvalidKey
from policy.key_use import Seen
from policy.tables import Key
from tests import books

NOW = books.START
PEPPER = b"pepper"
CHARGE = books.COST.charge


@pytest.fixture
async def database(migrated_database_url: str) -> AsyncIterator[Database]:
    async with books.opened(migrated_database_url) as database:
        await books.fund(database, "acc", 10_000_000)
        await books.fund(database, "other", 10_000_000)
        yield database


async def make(database: Database, id: str, account_id: str = "acc", kind: str = "inference", limit: int | None = None) -> Key:
    new = keys.NewKey(account_id=account_id, kind=kind, name=id, limit=limit)
    return await database.write(keys.create, new, token=keys.generate(secrets.randbelow), pepper=PEPPER, id=id, now=NOW)


async def change(database: Database, named: str, wanted: Change, *, by: str = "owner", limit_id: str = "lim_new") -> Seen:
    found = await database.write(account_keys.change, "acc", named, wanted, by=by, limit_id=limit_id, now=NOW)
    assert found is not None
    return found


async def test_an_account_has_a_thousand_keys_and_revoked_ones_do_not_count(database: Database, migrated_database_url: str) -> None:
    rows = [f"('key_{n}', 'acc', 'inference', '', 'd{n}', 'l', 1)" for n in range(keys.PER_ACCOUNT_MAX - 1)]
    await books.sql(
        migrated_database_url, f"INSERT INTO key (id, account_id, kind, name, digest, label, created_at) VALUES {', '.join(rows)}"
    )
    tried = await asyncio.gather(*(make(database, f"key_new_{n}") for n in range(3)), return_exceptions=True)
    refused = [each for each in tried if isinstance(each, InvalidKey)]
    assert len(refused) == 2, tried
    assert "1000 keys" in str(refused[0])
    await make(database, "key_theirs", "other")
    assert await database.write(keys.revoke, key_id="key_0", now=NOW)
    await make(database, "key_again")
    with pytest.raises(InvalidKey):
        await make(database, "key_one_more")


async def test_a_key_older_than_its_hash_is_known_by_its_id(database: Database, migrated_database_url: str) -> None:
    key = await make(database, "key_1")
    assert public_id(key) == key.hash
    await books.sql(migrated_database_url, "UPDATE key SET hash = NULL WHERE id = 'key_1'")
    found = await database.read(account_keys.one, "acc", "key_1", now=NOW)
    assert found is not None
    assert public_id(found.key) == "key_1"
    assert await database.read(account_keys.one, "acc", key.hash or "", now=NOW) is None
    for named in ("key_1", key.hash or ""):
        assert await database.read(account_keys.one, "other", named, now=NOW) is None


async def test_a_limit_that_is_only_raised_or_lowered_keeps_what_was_spent(database: Database) -> None:
    key = await make(database, "key_1", limit=1_000_000)
    assert key.limit_id
    await spend(database, key.limit_id, "gen_1")
    raised = await change(database, "key_1", Change(limit=5_000_000))
    assert raised.limit is not None
    assert (raised.limit.id, ledger.room(raised.limit, NOW)) == (key.limit_id, 5_000_000 - CHARGE)
    lowered = await change(database, "key_1", Change(limit=100))
    assert lowered.limit is not None
    assert ledger.room(lowered.limit, NOW) == 100 - CHARGE
    assert all(check.ok for check in await database.read(verify, now=NOW))


async def test_a_limit_with_another_reset_is_a_new_row_and_open_holds_stay_in_the_old_one(database: Database) -> None:
    key = await make(database, "key_1", limit=1_000_000)
    assert key.limit_id
    await spend(database, key.limit_id, "gen_1")
    settling = Ledger(database, "boot_1")
    await settling.hold("gen_open", account_id="acc", limits=(key.limit_id,), amount=CHARGE)
    changed = await change(database, "key_1", Change(reset="daily"))
    assert changed.limit is not None
    assert (changed.limit.id, changed.limit.overdraft, changed.limit.reset) == ("lim_new", 1_000_000, "daily")
    assert ledger.room(changed.limit, NOW) == 1_000_000
    await settling.settle("gen_open", charge=CHARGE, held=CHARGE, generation=books.generation("gen_open", "acc"))
    gone = await change(database, "key_1", Change(limit=None))
    assert (gone.limit, gone.key.limit_id) == (None, None)
    again = await change(database, "key_1", Change(limit=7), limit_id="lim_third")
    assert again.limit is not None
    assert (again.limit.id, again.limit.overdraft, again.limit.reset) == ("lim_third", 7, None)
    checks = await database.read(verify, now=NOW)
    assert [check for check in checks if not check.ok] == []


async def spend(database: Database, limit_id: str, id: str) -> None:
    settling = Ledger(database, "boot_1")
    await settling.hold(id, account_id="acc", limits=(limit_id,), amount=CHARGE)
    await settling.settle(id, charge=CHARGE, held=CHARGE, generation=books.generation(id, "acc"))


@pytest.mark.parametrize(("kind", "by", "allowed"), [
    ("inference", "owner", True), ("inference", "management", True), ("management", "owner", True), ("management", "management", False),
    ("owner", "owner", False), ("owner", "management", False),
])  # fmt: skip
async def test_only_the_owner_changes_managers_and_nobody_the_owner_s_key(database: Database, kind: str, by: str, allowed: bool) -> None:
    await make(database, "key_1", kind=kind)
    wanted = Change(disabled=True)
    if allowed:
        assert (await change(database, "key_1", wanted, by=by)).key.disabled_at == NOW
        assert await database.write(account_keys.delete, "acc", "key_1", by=by, now=NOW)
        assert not await database.write(account_keys.delete, "acc", "key_1", by=by, now=NOW)
        return
    with pytest.raises(Forbidden):
        await change(database, "key_1", wanted, by=by)
    with pytest.raises(Forbidden):
        await database.write(account_keys.delete, "acc", "key_1", by=by, now=NOW)


async def test_what_is_wrong_with_a_key_is_named(database: Database) -> None:
    await make(database, "key_1")
    for wanted, param in ((Change(reset="daily"), "limit_reset"), (Change(name="x" * 201), "name"), (Change(name="a\x1b[2J"), "name")):
        with pytest.raises(InvalidKey) as refused:
            await change(database, "key_1", wanted)
        assert refused.value.param == param
    with pytest.raises(UnknownAccount):
        await make(database, "key_2", "nobody")
    assert await database.write(account_keys.change, "other", "key_1", Change(), by="owner", limit_id="l", now=NOW) is None
