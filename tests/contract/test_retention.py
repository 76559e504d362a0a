"""What is older than its category may be goes, day by day for ten years, and the books stay exactly as they were."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import insert
from sqlmodel import Session

from metering import daily, exports, rollups, seal
from metering.database import Database
from metering.generations import NOTHING_BUT_BILLING
from metering.tables import Boot, Entry, Generation, Hold
from metering.usage import Usage
from policy import audit, idempotency, key_facts, retention
from policy.audit import Deed
from policy.retention import AUDIT_DAYS, METADATA_DAYS, enforce
from policy.tables import Key
from tests import books

DAY = 86_400_000
ALWAYS = 4_000_000_000_000
KEPT = {"finish_reason": "stop", "attempts": '[{"provider":"maker"}]', "origin": "https://app.example", "title": "App", "duration_ms": 9}


@pytest.fixture
async def database(migrated_database_url: str) -> AsyncIterator[Database]:
    async with books.opened(migrated_database_url) as database:
        await books.fund(database, "acc", 10**9)
        await books.fund(database, "other", 10**9)
        yield database


async def add(database: Database, id: str, at: int, account_id: str = "acc") -> None:
    """A settled generation of that moment, with its hold and both legs of its charge."""
    row = {**books.generation(id, account_id, usage=Usage(prompt=3)), "created_at": at, "charge": 7, **KEPT}
    hold = {"id": id, "account_id": account_id, "amount": 7, "state": 1, "charge": 7, "boot_id": "boot_1", "created_at": at,
            "closed_at": at, "progress": '{"title":"App"}'}  # fmt: skip
    leg = {"transaction_id": id, "leg": 0, "account_id": account_id, "amount": -7, "kind": "charge", "at": at}
    legs = [leg, {**leg, "leg": 1, "account_id": "house:revenue", "amount": 7}]

    def work(session: Session) -> None:
        for table, rows in ((Hold, [hold]), (Generation, [row]), (Entry, legs)):
            session.connection().execute(insert(table), rows)

    await database.write(work)


async def exported(database: Database, account_id: str = "acc") -> dict[str, int]:
    pages = exports.generations(database, account_id, start=0, end=ALWAYS, keys_named=key_facts.named)
    names = [column.name for column in exports.GENERATION_COLUMNS]
    rows = [dict(zip(names, row, strict=True)) async for page in pages for row in page]
    return {row["id"]: row["charge_usd"] for row in rows}


async def unreduced(url: str) -> list[tuple[Any, ...]]:
    nothing = " AND ".join(f"{name} IS NULL" if value is None else f"{name} = {value!r}" for name, value in NOTHING_BUT_BILLING.items())
    return await books.sql(url, f"SELECT id, created_at FROM generation WHERE NOT ({nothing})")


async def test_over_ten_years_nothing_is_older_than_its_category_and_the_books_are_untouched(
    database: Database, migrated_database_url: str
) -> None:
    url = migrated_database_url
    oldest: dict[str, int] = {}
    for quarter in range(41):
        start = books.START + quarter * 90 * DAY
        await add(database, f"gen_{quarter}", start)
        await database.write(audit.record, Deed(actor="key_1", action="limits.change", account_id="acc"), now=start)
        for step in range(0, 90, 30):
            now = start + step * DAY
            await enforce(database, now=now)
            left = await unreduced(url)
            assert all(at >= now - METADATA_DAYS * DAY for _, at in left)
            assert len(left) <= 5
            deeds = await books.sql(url, "SELECT seq, at FROM audit ORDER BY seq")
            assert all(at >= now - AUDIT_DAYS * DAY for _, at in deeds[:-1])
            oldest = {"generations": len(left), "deeds": len(deeds)}
    assert oldest == {"generations": 4, "deeds": 2}
    assert await exported(database) == {f"gen_{quarter}": 7 for quarter in range(41)}
    assert await books.sql(url, "SELECT COUNT(*), SUM(-amount) FROM entry WHERE kind = 'charge' AND leg = 0") == [(41, 41 * 7)]
    sums = [group async for _, groups in daily.sums(database, "acc", start=0, end=ALWAYS, group=("model",)) for group in groups.values()]
    assert sum(group.charge for group in sums) == 41 * 7
    assert await books.sql(url, "SELECT COUNT(*) FROM hold WHERE progress IS NOT NULL") == [(4,)]
    assert list(await database.read(lambda session: list(audit.broken(session)))) == []


async def test_a_round_goes_on_where_the_last_one_ended_through_more_than_a_page_of_every_account(
    database: Database, migrated_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metering.reduction.PAGE", 3)
    for i in range(8):
        await add(database, f"gen_a{i}", books.START)
        await add(database, f"gen_b{i}", books.START + i, "other")
    now = books.START + METADATA_DAYS * DAY + 4
    assert await enforce(database, now=now) == {"generations": 8 + 4, "boots": 1}
    assert len(await unreduced(migrated_database_url)) == 4
    assert await enforce(database, now=now) == {}, "what was done is not read again"
    assert await enforce(database, now=now + DAY) == {"generations": 4}
    assert await unreduced(migrated_database_url) == []


async def test_origins_leave_the_hours_and_days_that_were_added_up_as_they_leave_the_generations(
    database: Database, migrated_database_url: str
) -> None:
    for day in range(4):
        await add(database, f"gen_{day}", books.START + day * DAY)
    found = await database.read(seal.window, after=seal.BEGIN, limit=100)
    await database.write(seal.seal, found.unsealed, now=books.START + 5 * DAY)
    await rollups.add_up(database, now=books.START + 5 * DAY, rows_max=100)
    for round in range(6):
        now = books.START + (METADATA_DAYS + round) * DAY + 5
        await enforce(database, now=now)
        for table, begin, reach in (("usage_hour", "hour", rollups.HOUR_MS), ("usage_day", "day", DAY)):
            rows = await books.sql(migrated_database_url, f"SELECT {begin}, origin, charge FROM {table} ORDER BY 1")
            assert [charge for _, _, charge in rows] == [7] * 4
            assert [int(str(at)) + reach > now - METADATA_DAYS * DAY for at, _, _ in rows] == [origin != "" for _, origin, _ in rows]


async def test_a_key_goes_13_months_after_it_was_revoked_and_never_before(database: Database, migrated_database_url: str) -> None:
    def keys(session: Session) -> None:
        for id, revoked in (("key_old", books.START), ("key_new", books.START + DAY), ("key_used", None)):
            key = Key(id=id, account_id="acc", kind="inference", name=id, digest=id, label="l", created_at=0, revoked_at=revoked)
            session.add(key)

    await database.write(keys)
    await enforce(database, now=books.START + METADATA_DAYS * DAY + 1)
    assert await books.sql(migrated_database_url, "SELECT id FROM key ORDER BY id") == [("key_new",), ("key_used",)]


async def test_a_boot_is_forgotten_unless_money_is_still_held_in_its_name(database: Database, migrated_database_url: str) -> None:
    def boots(session: Session) -> None:
        session.add(Boot(id="boot_gone", started_at=0, heartbeat_at=1))
        held = {"id": "gen_open", "account_id": "acc", "amount": 0, "state": 0, "boot_id": "boot_1", "created_at": 1}
        session.connection().execute(insert(Hold), [held])

    await database.write(boots)
    await enforce(database, now=books.START + 400 * DAY)
    assert await books.sql(migrated_database_url, "SELECT id FROM boot") == [("boot_1",)]


def test_the_lifetime_of_a_claim_is_the_one_of_its_category() -> None:
    days = retention.NAMES["idempotency"].days
    assert days is not None
    assert days * DAY == idempotency.LIFETIME_MS
