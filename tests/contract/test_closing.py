"""An account's way out, by a clock of its own: closed, called off, or purged down to the books, in the raw bytes of the database too."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import insert
from sqlmodel import Session, SQLModel

from metering import ledger
from metering.database import Database
from metering.ledger import Ledger
from metering.rollup_tables import UsageDay, UsageHour
from metering.tables import Generation, Hold
from metering.verify import verify
from policy import account_limits, account_privacy, account_rules, account_states, audit, content_store, keys, members, own_keys
from policy.account_states import PERSONAL, WAIVED_MS, WINDOW_DAYS, purge_due
from policy.caller import Callers
from policy.errors import Unauthenticated, WrongState
from policy.keyring import KEY_BYTES, Keyring
from policy.keys import NewKey
from policy.tables import Project
from providers.content import Content
from tests import books

DAY = 86_400_000
MARK = "canary5vhn2kd8"
PEPPER = b"p" * 32
RING = Keyring({"a": b"k" * KEY_BYTES}, bytes)
END = books.START + WINDOW_DAYS * DAY
OWNER, APP = (keys.generate(random.Random(seed).randrange) for seed in (7, 9))


@pytest.fixture
async def database(migrated_database_url: str) -> AsyncIterator[Database]:
    async with books.opened(migrated_database_url) as database:
        for account_id in ("acc", "other"):
            await books.fund(database, account_id, 10**9)
            await database.write(_furnish, account_id)
        yield database
        assert [check for check in await database.read(verify, now=END) if not check.ok] == []
        assert await database.read(lambda session: list(audit.broken(session))) == []


def _furnish(session: Session, account_id: str) -> None:
    """One of everything that an account can have, each with the mark of its account."""
    mark, now, id = f"{MARK}{account_id}", books.START, f"gen_{account_id}"
    members.add(session, id=f"mem_{account_id}", account_id=account_id, email=f"{mark}@mail.example", role="owner", now=now)
    session.add(Project(id=f"prj_{account_id}", account_id=account_id, name=mark, created_at=now))
    if account_id == "acc":
        for key_id, kind, token in (("key_owner", "owner", OWNER), ("key_app", "inference", APP)):
            new = NewKey(account_id=account_id, kind=kind, name=mark, limit=5)
            keys.create(session, new, token=token, pepper=PEPPER, id=key_id, now=now)
    own_keys.add(session, id=f"pk_{id}", account_id=account_id, provider=mark, text=mark, secret="s" * 32, random_bytes=bytes, now=now)
    account_rules.put(session, account_id, {"presets": {mark: {"model": "a/b"}}}, now=now)
    account_limits.set_limits(session, account_id, requests_per_minute=5, tokens_per_minute=None, concurrency=None, now=now)
    account_privacy.change(session, account_id, {"logging": "full"}, actor=mark, now=now)
    said = Content({"said": mark})
    content_store.put(
        session, generation_id=id, account_id=account_id, key_id=mark, level="full", content=said, wrapper=RING, random_bytes=bytes, now=now
    )
    hold = {"id": id, "account_id": account_id, "amount": 0, "state": 2, "boot_id": "boot_1", "created_at": now, "closed_at": now}
    row = {**books.generation(id, account_id, usage=books.Usage()), "origin": mark, "title": mark, "attempts": f'["{mark}"]'}
    added = {"account_id": account_id, "model": "a/b", "provider": "p", "key_id": id, "origin": mark, "requests": 1}
    session.connection().execute(insert(UsageHour), [{**added, "hour": now - now % 3_600_000}])
    session.connection().execute(insert(UsageDay), [{**added, "day": now - now % DAY}])
    session.connection().execute(insert(Hold), [{**hold, "progress": mark}])
    session.connection().execute(insert(Generation), [row])


async def close(database: Database, *, by: str = "key_owner", waive: bool = False, now: int = books.START) -> account_states.Standing:
    return await database.write(account_states.close, "acc", by=by, waive=waive, reason=None, now=now)


async def rows_of(database_url: str, account_id: str) -> dict[str, int]:
    """How many rows each personal table, and the content, has of an account."""
    tables = [str(table.__tablename__) for table in PERSONAL] + ["content", "content_key"]
    counts = [await books.sql(database_url, f"SELECT COUNT(*) FROM {table} WHERE account_id = '{account_id}'") for table in tables]
    return {table: count for table, ((count,),) in zip(tables, counts, strict=True) if count}


async def raw(database_url: str) -> bytes:
    """Every byte of the database's files, after it has thrown away what it can."""
    if database_url.startswith("sqlite"):
        await books.sql(database_url, "VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)")
        file = Path(database_url.removeprefix("sqlite:///"))
        return b"".join(path.read_bytes() for path in sorted(file.parent.glob(f"{file.name}*")))
    await books.sql(database_url, "VACUUM FULL", "CHECKPOINT")
    ((folder, oid),) = await books.sql(
        database_url, "SELECT current_setting('data_directory'), oid::text FROM pg_database WHERE datname = current_database()"
    )
    return b"".join(path.read_bytes() for path in sorted(Path(str(folder), "base", str(oid)).iterdir()) if path.is_file())


async def test_on_the_day_of_closing_every_key_is_dead_and_only_the_owner_may_still_read(database: Database) -> None:
    callers = Callers(database, PEPPER)
    assert (await callers.identify(APP, books.START)).key_id == "key_app"
    standing = await close(database)
    assert (standing.state, standing.due_at) == ("closing", END)
    later = books.START + 1000
    for key, reading in ((APP, False), (APP, True), (OWNER, False)):
        with pytest.raises(Unauthenticated, match="being closed"):
            await callers.identify(key, later, reading=reading)
    assert (await callers.identify(OWNER, later, reading=True)).account_id == "acc"


async def test_until_the_window_ends_nothing_is_removed_and_calling_it_off_restores_everything(
    database: Database, migrated_database_url: str
) -> None:
    before = await rows_of(migrated_database_url, "acc")
    await close(database)
    assert await purge_due(database, now=END - 1) == 0
    assert await rows_of(migrated_database_url, "acc") == before
    assert (await database.write(account_states.cancel, "acc", by="key_owner", now=END - 1)).state == "active"
    assert await purge_due(database, now=END + DAY) == 0
    assert (await Callers(database, PEPPER).identify(APP, END + DAY)).key_id == "key_app"


async def test_a_day_after_the_window_only_the_books_are_left_of_the_account_and_the_neighbour_is_whole(
    database: Database, migrated_database_url: str
) -> None:
    url = migrated_database_url
    spent = await _spend(database)
    neighbour = await rows_of(url, "other")
    balance = await database.read(ledger.balance, "acc")
    entries = await books.sql(url, "SELECT transaction_id, leg, account_id, amount, at FROM entry ORDER BY 1, 2")
    assert f"{MARK}acc".encode() in await raw(url), "the scan finds what is there"
    await close(database)
    assert await purge_due(database, now=END + DAY) == 1
    left = await raw(url)
    assert f"{MARK}acc".encode() not in left
    assert f"{MARK}other".encode() in left
    assert await rows_of(url, "acc") == {}
    assert await rows_of(url, "other") == neighbour
    assert await database.read(ledger.balance, "acc") == balance
    assert await books.sql(url, "SELECT transaction_id, leg, account_id, amount, at FROM entry ORDER BY 1, 2") == entries
    for table in ("usage_hour", "usage_day"):
        added = await books.sql(url, f"SELECT account_id, origin, requests FROM {table} ORDER BY 1")
        assert added == [("acc", "", 1), ("other", f"{MARK}other", 1)]
    assert await books.sql(url, "SELECT charge, prompt FROM generation WHERE id = 'gen_spent'") == [(spent, books.USAGE.prompt)]
    with pytest.raises(Unauthenticated):
        await Callers(database, PEPPER).identify(OWNER, END + DAY, reading=True)
    with pytest.raises(WrongState, match="closed"):
        await database.write(account_states.cancel, "acc", by="operator", now=END + DAY)
    actions = [row.action for row in await database.read(audit.page, after=0, account_id="acc")]
    assert actions[-2:] == ["account.close", "account.purge"]


async def _spend(database: Database) -> int:
    """A charge like any other."""
    real, price = Ledger(database, "boot_1"), books.COST.charge
    await real.hold("gen_spent", account_id="acc", limits=(), amount=price)
    await real.settle("gen_spent", charge=price, held=price, generation=books.generation("gen_spent", "acc"))
    return price


async def test_a_waived_window_ends_at_once_but_never_before_what_is_running(database: Database, migrated_database_url: str) -> None:
    real = Ledger(database, "boot_1")
    await real.hold("gen_open", account_id="acc", limits=(), amount=5)
    assert (await close(database, waive=True)).due_at == books.START + WAIVED_MS
    assert await purge_due(database, now=END) == 0
    await real.void("gen_open", generation={**books.generation("gen_open", "acc", usage=books.Usage()), "held": 5})
    assert await purge_due(database, now=books.START + WAIVED_MS) == 1
    assert await rows_of(migrated_database_url, "acc") == {}


async def test_closing_twice_keeps_the_first_window(database: Database) -> None:
    await close(database)
    assert (await close(database, now=books.START + 5 * DAY)).due_at == END


async def test_a_suspended_account_is_the_operators_to_give_back(database: Database) -> None:
    await database.write(account_states.suspend, "acc", reason="an unpaid invoice", now=books.START)
    with pytest.raises(Unauthenticated, match="suspended by the operator: an unpaid invoice"):
        await Callers(database, PEPPER).identify(OWNER, books.START)
    assert (await Callers(database, PEPPER).identify(OWNER, books.START, reading=True)).kind == "owner"
    with pytest.raises(WrongState, match="suspended"):
        await close(database)
    assert (await database.write(account_states.resume, "acc", now=books.START)).state == "active"
    assert (await close(database, by="operator")).state == "closing"
    with pytest.raises(WrongState, match="by the operator"):
        await database.write(account_states.cancel, "acc", by="key_owner", now=books.START)


async def test_the_audit_log_names_whoever_of_the_operators_it_was(database: Database) -> None:
    await database.write(account_states.suspend, "acc", reason="an unpaid invoice", by="per_ann", now=books.START)
    assert (await database.read(account_states.of, "acc")).actor == "operator"
    await database.write(account_states.resume, "acc", by="per_bob", now=books.START)
    await database.write(account_states.suspend, "acc", reason="once more", now=books.START)
    deeds = await database.read(audit.page, after=0, account_id="acc")
    assert [(deed.actor, deed.action) for deed in deeds][-3:] == [
        ("per_ann", "account.suspend"), ("per_bob", "account.resume"), ("operator", "account.suspend"),
    ]  # fmt: skip


def test_every_table_of_an_account_is_either_the_books_or_goes_with_it() -> None:
    stays = {"billing", "metadata", "audit", "content", "register"}
    tables = {name: table for name, table in SQLModel.metadata.tables.items() if "account_id" in table.columns}
    assert {name for name, table in tables.items() if table.info["retention"] not in stays} == {table.__tablename__ for table in PERSONAL}
