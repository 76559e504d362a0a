"""Stored content on both databases: only while the choice stands, sealed for its row, gone when its days are over or its owner says so."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

import pytest
from sqlalchemy import text
from sqlmodel import Session

from metering.database import Database
from policy import account_privacy, content_store, resealing
from policy.content_store import BYTES_MAX, DAY_MS, DELETED_AT_ONCE, Receipt
from policy.errors import InvalidPrivacy, SealBroken
from policy.keyring import Keyring
from policy.privacy import Level
from providers.content import Content
from tests import books

NOW = books.START
DAY = NOW // DAY_MS
CANARY = "canary-of-the-store-" * 20
ASKED = {"input": {"messages": [{"role": "user", "content": CANARY}]}, "output": {"completion": "é 漢 😀"}, "error": None}
_numbers = itertools.count(1)


def numbered(size: int) -> bytes:
    """Never the same twice, as nonces and keys must be."""
    return next(_numbers).to_bytes(size)


RING = Keyring({"one": b"1" * 32}, numbered)


class Store(NamedTuple):
    """The store of one database; moments count from NOW."""

    database: Database
    url: str

    async def choose(self, account: str = "acc", at: int = 0, **fields: Any) -> int:
        """The choice's version."""
        return (await self.database.write(account_privacy.change, account, fields, actor="key_1", now=NOW + at)).version

    async def put(
        self, id: str, account: str = "acc", *, at: int = 0, level: Level = "full", content: Any = ASKED, ring: Keyring = RING
    ) -> bool:
        return await self.database.write(put, id, account, at=at, level=level, content=content, ring=ring)

    async def find(self, id: str, account: str = "acc", *, at: int = 0, ring: Keyring = RING) -> Any:
        found = await self.database.read(content_store.find, generation_id=id, account_id=account, wrapper=ring, now=NOW + at)
        return None if found is None else found.reveal()

    async def ids(self, account: str = "acc", *, at: int = 0) -> list[str]:
        logs = await self.database.read(content_store.page, account, before=None, limit=100, now=NOW + at)
        return [log.generation_id for log in logs]

    async def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        return await books.sql(self.url, *statements)

    async def keys(self) -> list[tuple[Any, ...]]:
        return await self.sql("SELECT account_id, id FROM content_key ORDER BY account_id, id")


def put(session: Session, id: str, account: str, *, at: int = 0, level: Level = "full", content: Any = ASKED, ring: Keyring = RING) -> bool:
    return content_store.put(
        session, generation_id=id, account_id=account, key_id="key_1", level=level, content=Content(content), wrapper=ring,
        random_bytes=numbered, now=NOW + at,
    )  # fmt: skip


@pytest.fixture
async def store(database: Database, migrated_database_url: str) -> Store:
    """Two accounts that log everything."""
    found = Store(database, migrated_database_url)
    for account in ("acc", "other"):
        await books.fund(database, account, 0)
        await found.choose(account, logging="full")
    return found


@pytest.mark.parametrize("logging", [None, "none", "metadata"])
async def test_nothing_is_stored_for_an_account_that_has_not_chosen_full(
    database: Database, migrated_database_url: str, logging: Any
) -> None:
    store = Store(database, migrated_database_url)
    await books.fund(database, "acc", 0)
    assert not await store.put("gen-0"), "who never chose has chosen nothing"
    await store.choose(logging=logging)
    assert not await store.put("gen-1")
    assert await store.sql("SELECT * FROM content") == []
    assert await store.keys() == [], "not even a key is made"


@pytest.mark.parametrize("logging", ["metadata", "full"])
async def test_with_every_combination_of_the_other_opt_ins_content_is_stored_iff_its_own_flag_is_on(store: Store, logging: Any) -> None:
    flags = ("chat_history", "traces_with_content", "evaluation_sets", "memories", "product_improvement")
    await store.choose(logging=logging)
    before = await everything(store)
    for number, values in enumerate(itertools.product((False, True), repeat=len(flags))):
        await store.choose(**dict(zip(flags, values, strict=True)))
        assert await store.put(f"gen-{number}") is (logging == "full"), values
    assert len(await store.ids()) == (32 if logging == "full" else 0)
    changed = {table for table, rows in (await everything(store)).items() if rows != before[table]}
    assert changed == {"account_privacy", "privacy_change", *(("content", "content_key") if logging == "full" else ())}


async def everything(store: Store) -> dict[str, str]:
    """All rows of all tables."""
    sqlite = store.url.startswith("sqlite")
    names = (
        "SELECT name FROM sqlite_master WHERE type = 'table'" if sqlite else "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    )
    tables = [str(name) for (name,) in await store.sql(names)]
    return {table: repr(sorted(map(repr, await store.sql(f'SELECT * FROM "{table}"')))) for table in tables}


@pytest.mark.parametrize("level", ["none", "metadata"])
async def test_nothing_is_stored_of_a_request_whose_level_is_stricter(store: Store, level: Level) -> None:
    assert not await store.put("gen-1", level=level)
    assert await store.ids() == []


async def test_what_is_stored_is_read_back_whole_and_only_by_its_account(store: Store) -> None:
    assert await store.put("gen-1")
    assert await store.find("gen-1") == ASKED
    assert await store.find("gen-1", "other") is None
    assert await store.ids("other") == []
    assert await store.find("gen-2") is None
    for rows in (await store.sql("SELECT * FROM content"), await store.sql("SELECT * FROM content_key")):
        assert CANARY[:20] not in repr(rows)


async def test_a_choice_that_changed_since_admission_stores_nothing_and_leaves_old_rows_as_they_are(store: Store) -> None:
    assert await store.put("gen-1")
    before = await store.sql("SELECT * FROM content")
    await store.choose(logging="metadata")
    assert not await store.put("gen-2")
    await store.choose(logging="full", keys=["key_2"])
    assert not await store.put("gen-3")
    assert await store.sql("SELECT * FROM content") == before
    assert await store.find("gen-1") == ASKED


async def test_a_change_waits_for_what_is_being_stored_and_what_comes_after_it_sees_it(store: Store) -> None:
    stored, change = await overlapping(store, lambda session: put(session, "gen-1", "acc"), store.choose(logging="none"))
    assert stored is True
    assert change == 2
    assert not await store.put("gen-2")
    assert await store.ids() == ["gen-1"]


@pytest.mark.parametrize("delete", ["one", "before", "all", "expire"])
async def test_a_deletion_never_takes_the_key_of_a_row_that_is_being_stored(store: Store, delete: str) -> None:
    assert await store.put("gen-1")
    deletions: dict[str, Any] = {
        "one": lambda: store.database.write(content_store.delete_one, "acc", "gen-1"),
        "before": lambda: store.database.write(content_store.delete_before, "acc", NOW + 1),
        "all": lambda: store.database.write(content_store.delete_all, "acc"),
        "expire": lambda: store.database.write(content_store.expire, now=NOW + 30 * DAY_MS),
    }
    await overlapping(store, lambda session: put(session, "gen-2", "acc", at=1), deletions[delete]())
    assert "gen-1" not in await store.ids()
    for id in await store.ids():
        assert await store.find(id) == ASKED, "what is listed can be read"


async def overlapping(store: Store, work: Callable[[Session], Any], other: Coroutine[Any, Any, Any]) -> tuple[Any, Any]:
    """What both gave; `work` has written and not yet committed when `other` begins. On SQLite a second writer waits for its turn anyway."""
    if store.url.startswith("sqlite"):
        return await store.database.write(work), await other

    def slow(session: Session) -> Any:
        done = work(session)
        session.flush()
        session.connection().execute(text("SELECT pg_sleep(0.5)"))
        return done

    async with books.connected(store.url) as beside:
        writing = asyncio.ensure_future(beside.write(slow))
        await asyncio.sleep(0.15)
        waiting = asyncio.ensure_future(other)
        await asyncio.sleep(0.15)
        assert not waiting.done(), "the second waits for the first"
        return await writing, await waiting


async def test_a_row_opens_only_where_it_was_sealed(store: Store) -> None:
    assert await store.put("gen-1")
    assert await store.put("gen-2")
    assert await store.put("gen-3", "other")
    await store.sql("UPDATE content SET sealed = (SELECT sealed FROM content WHERE generation_id = 'gen-1') WHERE generation_id <> 'gen-1'")
    for id, account in (("gen-2", "acc"), ("gen-3", "other")):
        with pytest.raises(SealBroken):
            await store.find(id, account)
    await store.sql("UPDATE content SET account_id = 'other' WHERE generation_id = 'gen-1'")
    with pytest.raises(SealBroken):
        await store.find("gen-1", "other")
    copied = "wrapped = (SELECT wrapped FROM content_key WHERE account_id = 'acc') WHERE account_id = 'other'"
    await store.sql(f"UPDATE content_key SET {copied}")
    with pytest.raises(SealBroken):
        await store.find("gen-1", "other")


@pytest.mark.parametrize("place", ["first", "nonce", "middle", "tag", "cut", "empty"])
async def test_changed_bytes_do_not_open(store: Store, place: str) -> None:
    assert await store.put("gen-1")
    [(sealed,)] = await store.sql("SELECT sealed FROM content")
    changed = bytearray(sealed)
    if place in ("cut", "empty"):
        changed = changed[: len(changed) - 1 if place == "cut" else 0]
    else:
        changed[{"first": 0, "nonce": 11, "middle": len(changed) // 2, "tag": len(changed) - 1}[place]] ^= 1
    await store.sql(f"UPDATE content SET sealed = {_literal(store, bytes(changed))}")
    with pytest.raises(SealBroken):
        await store.find("gen-1")


async def test_without_its_key_a_row_is_noise(store: Store) -> None:
    assert await store.put("gen-1")
    with pytest.raises(SealBroken):
        await store.find("gen-1", ring=Keyring({"two": b"2" * 32}, numbered))
    with pytest.raises(SealBroken):
        await store.find("gen-1", ring=Keyring({"one": b"2" * 32}, numbered))
    await store.sql("DELETE FROM content_key")
    with pytest.raises(SealBroken):
        await store.find("gen-1")


async def test_a_lost_key_refuses_to_store_under_it_and_stores_nothing(store: Store) -> None:
    assert await store.put("gen-1")
    with pytest.raises(SealBroken):
        await store.put("gen-2", ring=Keyring({"two": b"2" * 32}, numbered))
    assert await store.ids() == ["gen-1"]


async def test_rotation_wraps_every_data_key_anew_and_leaves_the_contents_as_they_are(store: Store) -> None:
    for number in range(content_store.PAGE_MAX + 20):
        assert await store.put(f"gen-{number}", at=number * DAY_MS)
    assert await store.put("gen-x", "other")
    both = Keyring({"two": b"2" * 32, "one": b"1" * 32}, numbered)
    assert await store.find("gen-0", ring=both) == ASKED
    before = await store.sql("SELECT * FROM content ORDER BY generation_id")
    assert await rewrapped(store, both) == content_store.PAGE_MAX + 21
    assert await rewrapped(store, both) == 0
    assert await store.sql("SELECT * FROM content ORDER BY generation_id") == before
    assert all(wrapped.startswith(b"two:") for (wrapped,) in await store.sql("SELECT wrapped FROM content_key"))
    only = Keyring({"two": b"2" * 32}, numbered)
    assert await store.find("gen-0", ring=only) == ASKED
    assert await store.find("gen-x", "other", ring=only) == ASKED


async def test_a_rotation_that_lacks_a_key_changes_nothing_of_its_rows_and_names_them(store: Store) -> None:
    assert await store.put("gen-1")
    before = await store.sql("SELECT * FROM content_key")
    lost = Keyring({"two": b"2" * 32}, numbered)
    [*_, kind] = resealing.kinds(("s" * 32,), lost, numbered)
    counted = await resealing.walk(store.database, kind, write=True)
    assert (counted.current, counted.rotated, counted.broken, counted.named) == (0, 0, 1, [f"content_keys: {DAY} of acc"])
    assert await store.sql("SELECT * FROM content_key") == before


async def rewrapped(store: Store, ring: Keyring) -> int:
    [*_, kind] = resealing.kinds(("s" * 32,), ring, numbered)
    return (await resealing.walk(store.database, kind, write=True)).rotated


async def test_content_goes_when_its_days_are_over_and_its_key_with_the_last_of_a_day(store: Store) -> None:
    await store.choose(retention_days=1)
    assert await store.put("short")
    await store.choose(retention_days=365)
    assert await store.put("long")
    last = DAY_MS - 1
    assert await store.database.write(content_store.expire, now=NOW + last) == 0
    assert await store.find("short", at=last) == ASKED
    assert await store.find("short", at=last + 1) is None, "over is over, also before it is removed"
    assert await store.ids(at=last + 1) == ["long"]
    assert await store.database.write(content_store.expire, now=NOW + DAY_MS) == 1
    assert len(await store.keys()) == 1
    assert await store.find("long", at=364 * DAY_MS) == ASKED
    assert await store.database.write(content_store.expire, now=NOW + 365 * DAY_MS) == 1
    assert await store.sql("SELECT * FROM content") == []
    assert await store.keys() == []


async def test_expiry_takes_a_bounded_number_at_once_and_then_the_rest(store: Store) -> None:
    def many(session: Session) -> None:
        for number in range(DELETED_AT_ONCE + 7):
            assert put(session, f"gen-{number}", "other" if number % 2 else "acc", content={})

    await store.database.write(many)
    later = NOW + 31 * DAY_MS
    assert [await store.database.write(content_store.expire, now=later) for _ in range(3)] == [DELETED_AT_ONCE, 7, 0]
    assert await store.keys() == []


async def test_one_is_deleted_and_only_ones_own(store: Store) -> None:
    for id in ("gen-1", "gen-2"):
        assert await store.put(id)
    assert await store.database.write(content_store.delete_one, "other", "gen-1") == Receipt(0, 0, 0)
    [(size,)] = await store.sql("SELECT length(sealed) FROM content WHERE generation_id = 'gen-1'")
    assert await store.database.write(content_store.delete_one, "acc", "gen-1") == Receipt(1, size, 0)
    assert await store.database.write(content_store.delete_one, "acc", "gen-1") == Receipt(0, 0, 0)
    assert await store.ids() == ["gen-2"]
    assert (await store.database.write(content_store.delete_one, "acc", "gen-2")).keys == 1
    assert await store.keys() == []


async def test_a_span_is_deleted_with_the_keys_of_its_days(store: Store) -> None:
    for day in range(4):
        assert await store.put(f"gen-{day}", at=day * DAY_MS)
        assert await store.put(f"other-{day}", "other", at=day * DAY_MS)
    receipt = await store.database.write(content_store.delete_before, "acc", NOW + 2 * DAY_MS)
    assert (receipt.rows, receipt.keys) == (2, 2)
    assert await store.ids() == ["gen-3", "gen-2"]
    assert await store.keys() == [*(("acc", str(DAY + day)) for day in (2, 3)), *(("other", str(DAY + day)) for day in range(4))]


async def test_all_are_deleted_keys_first_and_nobody_elses(store: Store) -> None:
    for day in range(3):
        assert await store.put(f"gen-{day}", at=day * DAY_MS)
    assert await store.put("other-0", "other")
    [(size,)] = await store.sql("SELECT sum(length(sealed)) FROM content WHERE account_id = 'acc'")
    assert await store.database.write(content_store.delete_all, "acc") == Receipt(3, size, 3)
    assert await store.database.write(content_store.delete_all, "acc") == Receipt(0, 0, 0)
    assert await store.find("other-0", "other") == ASKED
    assert await store.put("gen-9"), "deleting does not switch off"


async def test_what_is_too_long_is_not_stored(store: Store) -> None:
    edge = BYTES_MAX - len('{"a":""}')
    assert not await store.put("gen-1", content={"a": "x" * (edge + 1)})
    assert await store.keys() == []
    assert await store.put("gen-2", content={"a": "x" * edge})
    assert await store.ids() == ["gen-2"]


async def test_a_choice_is_changed_by_its_owner_alone_and_never_half(store: Store) -> None:
    with pytest.raises(InvalidPrivacy):
        await store.choose(logging="none", retention_days=366)
    assert (await store.database.read(account_privacy.of, "acc")).privacy.logging == "full"
    assert (await store.database.read(account_privacy.of, "nobody")) == account_privacy.UNCHANGED
    assert [change.version for change in await store.database.read(account_privacy.history, "acc")] == [1]


async def test_of_many_changes_at_once_none_is_lost(store: Store) -> None:
    fields = ("chat_history", "traces_with_content", "evaluation_sets", "memories", "product_improvement")
    await asyncio.gather(*(store.choose(**{name: True}) for name in fields))
    choice = await store.database.read(account_privacy.of, "acc")
    assert all(getattr(choice.privacy, name) for name in fields)
    assert [change.version for change in await store.database.read(account_privacy.history, "acc")] == [6, 5, 4, 3, 2, 1]


def _literal(store: Store, value: bytes) -> str:
    return f"x'{value.hex()}'" if store.url.startswith("sqlite") else f"'\\x{value.hex()}'::bytea"
