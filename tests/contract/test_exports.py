"""Exports, statements and the ledger say the same, to the nano-dollar, on SQLite and on Postgres."""

import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert
from sqlmodel import Session

from metering import daily, exports, ledger, recovery, statement
from metering.database import Database
from metering.errors import UnknownAccount
from metering.exports import DAY_COLUMNS, GENERATION_COLUMNS
from metering.ledger import Ledger
from metering.money import now_ms
from metering.tables import Entry, Generation
from metering.usage import Usage
from policy import key_facts
from policy.tables import Key
from tests import books

DAY = 86_400_000
MIDNIGHT = books.START - books.START % DAY + DAY
NEVER, ALWAYS = 0, 4_000_000_000_000
PERIODS = (
    (MIDNIGHT - DAY, MIDNIGHT),
    (MIDNIGHT, MIDNIGHT + DAY),
    (MIDNIGHT - DAY, MIDNIGHT + 2 * DAY),
    (MIDNIGHT - 1, MIDNIGHT),
    (MIDNIGHT, MIDNIGHT + 1),
    (MIDNIGHT + 5 * DAY, MIDNIGHT + 6 * DAY),
    (NEVER, ALWAYS),
)


@pytest.fixture
async def database(migrated_database_url: str) -> AsyncIterator[Database]:
    async with books.opened(migrated_database_url) as database:
        yield database


async def generations(database: Database, account_id: str = "acc", start: int = NEVER, end: int = ALWAYS) -> list[dict[str, Any]]:
    pages = exports.generations(database, account_id, start=start, end=end, keys_named=key_facts.named)
    names = [column.name for column in GENERATION_COLUMNS]
    return [dict(zip(names, row, strict=True)) async for page in pages for row in page]


async def days(database: Database, account_id: str = "acc", start: int = NEVER, end: int = ALWAYS) -> list[dict[str, Any]]:
    pages = exports.days(database, account_id, start=start, end=end, keys_named=key_facts.named)
    names = [column.name for column in DAY_COLUMNS]
    return [dict(zip(names, row, strict=True)) async for page in pages for row in page]


async def lines(database: Database, account_id: str = "acc", start: int = NEVER, end: int = ALWAYS) -> list[statement.Line]:
    return [line async for page in statement.lines(database, account_id, start=start, end=end) for line in page]


def generation(id: str, created_at: int, account_id: str = "acc", charge: int = 0, **more: Any) -> dict[str, Any]:
    row = books.generation(id, account_id, usage=Usage(prompt=3, reasoning=2) if charge else Usage())
    return {**row, "created_at": created_at, "charge": charge, **more}


def entry(id: str, at: int, amount: int, kind: str = "charge", account_id: str = "acc") -> list[dict[str, Any]]:
    """Both legs."""
    customers = {"transaction_id": id, "leg": 0, "account_id": account_id, "amount": amount, "kind": kind, "at": at}
    return [customers, {**customers, "leg": 1, "account_id": "house:revenue", "amount": -amount}]


async def write(database: Database, *, rows: list[dict[str, Any]], entries: list[dict[str, Any]]) -> None:
    def work(session: Session) -> None:
        for table, values in ((Generation, rows), (Entry, entries)):
            if values:
                session.connection().execute(insert(table), values)

    await database.write(work)


async def about_midnight(database: Database) -> None:
    """Charges on both sides of a midnight, one that began before it and was charged after; a free one; a charge that lost its row."""
    await books.fund(database, "acc", 10_000)
    await books.fund(database, "other", 10_000)
    before, after = MIDNIGHT - 1, MIDNIGHT
    rows = [
        generation("gen_before", before - 500, charge=101),
        generation("gen_across", before - 400, charge=211, model="maker/second"),
        generation("gen_after", after, charge=307),
        generation("gen_free_before", before, outcome="failed"),
        generation("gen_free_after", after, provider=None, endpoint=None),
        generation("gen_other", after, "other", charge=9_999),
    ]
    entries = [
        *entry("gen_before", before, -101), *entry("gen_across", after, -211), *entry("gen_after", after + 1, -307),
        *entry("gen_lost", after + 2, -401), *entry("dep_late", after, 50, "deposit"),
        *entry("gen_other", after, -9_999, account_id="other"),
    ]  # fmt: skip
    await write(database, rows=rows, entries=entries)


async def test_of_every_period_export_days_statement_and_ledger_have_the_same_charges(
    database: Database, migrated_database_url: str
) -> None:
    await about_midnight(database)
    for start, end in PERIODS:
        where = f"account_id = 'acc' AND kind = 'charge' AND at >= {start} AND at < {end}"
        ((booked,),) = await books.sql(migrated_database_url, f"SELECT COALESCE(SUM(-amount), 0) FROM entry WHERE {where}")
        rows, by_day = await generations(database, start=start, end=end), await days(database, start=start, end=end)
        stated = [-(line.amount or 0) for line in await lines(database, start=start, end=end) if line.kind == "charge"]
        sums = {sum(row["charge_usd"] for row in rows), sum(row["charge_usd"] for row in by_day), sum(stated), booked}
        assert len(sums) == 1, (start, end, sums)
        assert sum(row["requests"] for row in by_day) == len(rows)
        for unit in ("prompt", "reasoning"):
            assert sum(row[unit] for row in by_day) == sum(row[unit] or 0 for row in rows)
    assert {row["charge_usd"] for row in await generations(database)} == {0, 101, 211, 307, 401}


async def test_a_charge_belongs_to_the_day_it_was_booked_and_what_was_free_to_the_day_it_began(database: Database) -> None:
    await about_midnight(database)
    first = await generations(database, start=MIDNIGHT - DAY, end=MIDNIGHT)
    second = await generations(database, start=MIDNIGHT, end=MIDNIGHT + DAY)
    assert [row["id"] for row in first] == ["gen_before", "gen_free_before"]
    assert {row["id"] for row in second[:2]} == {"gen_across", "gen_free_after"}
    assert [row["id"] for row in second[2:]] == ["gen_after", "gen_lost"]
    across = next(row for row in second if row["id"] == "gen_across")
    assert (across["created_at"], across["charged_at"]) == (MIDNIGHT - 401, MIDNIGHT)
    assert [row["charged_at"] for row in (*first, *second) if "free" in row["id"]] == [None, None]
    dates = {(row["date"], row["model"], row["provider"]): (row["requests"], row["charge_usd"]) for row in await days(database)}
    assert dates == {
        ("2025-10-09", "maker/model", "maker"): (2, 101),
        ("2025-10-10", "maker/model", "maker"): (1, 307),
        ("2025-10-10", "maker/model", None): (1, 0),
        ("2025-10-10", "maker/second", "maker"): (1, 211),
        ("2025-10-10", None, None): (1, 401),
    }


async def test_a_charge_without_a_generation_is_exported_with_its_amount(database: Database) -> None:
    await about_midnight(database)
    (lost,) = [row for row in await generations(database) if row["id"] == "gen_lost"]
    known = {name: value for name, value in lost.items() if value is not None}
    assert known == {"id": "gen_lost", "charged_at": MIDNIGHT + 2, "account_id": "acc", "charge_usd": 401}


async def test_a_row_names_its_key_even_when_the_key_is_gone(database: Database) -> None:
    await about_midnight(database)
    key = Key(
        id="key_1", account_id="acc", kind="owner", name="ci", digest="d", label="l", member_id="mem_1", project_id="prj_1", created_at=0
    )

    def add(session: Session) -> None:
        session.add(key)

    assert {row["key_name"] for row in (*await generations(database), *await days(database))} == {None}
    await database.write(add)
    rows = [*await generations(database), *await days(database)]
    named = [row for row in rows if row["key_id"] == "key_1"]
    assert len(named) == len(rows) - 2
    assert {(row["key_name"], row["member_id"], row["project_id"]) for row in named} == {("ci", "mem_1", "prj_1")}


async def test_what_the_ledger_really_settled_voided_and_recovered_is_exported_to_the_nano(database: Database) -> None:
    price = books.COST.charge
    await books.fund(database, "acc", 10 * price)
    real = Ledger(database, "boot_1")
    for id in ("gen_settled", "gen_short", "gen_void", "gen_recovered", "gen_silent"):
        await real.hold(id, account_id="acc", limits=(), amount=price)
    row = books.generation("gen_settled", "acc")
    await real.settle("gen_settled", charge=price, held=price, generation=row)
    await real.void("gen_void", generation={**books.generation("gen_void", "acc", usage=Usage()), "held": price})
    progress = {**books.generation("gen_recovered", "acc"), "charge": price - 17, "held": price, "outcome": "recovered"}
    await database.write(recovery.checkpoint, {"gen_recovered": progress})
    await database.write(recovery.fence, own="boot_2", now=now_ms(), is_dead=lambda session, boot, silent: True)
    for job in await database.read(recovery.orphans, ["boot_1"]):
        await real.recover(job)
    balance = await database.read(ledger.balance, "acc")
    rows = {each["id"]: each for each in await generations(database)}
    assert rows.keys() == {"gen_settled", "gen_void", "gen_recovered"}
    assert rows["gen_recovered"]["charge_usd"] == price - 17
    assert sum(each["charge_usd"] for each in rows.values()) == balance.usage == 2 * price - 17
    assert sum(each["charge_usd"] for each in await days(database)) == balance.usage
    assert (await lines(database, end=now_ms() + 1))[-1].balance == balance.credits - balance.usage


async def test_a_statement_adds_up_and_the_next_one_begins_where_it_ends(database: Database) -> None:
    await about_midnight(database)
    cuts = (NEVER, MIDNIGHT - DAY, MIDNIGHT - 1, MIDNIGHT, MIDNIGHT + 1, MIDNIGHT + DAY, ALWAYS)
    closed = 0
    for start, end in itertools.pairwise(cuts):
        opening, *entries, closing = await lines(database, start=start, end=end)
        assert (opening.kind, opening.at, closing.kind, closing.at) == ("opening", start, "closing", end)
        assert opening.balance == closed
        assert opening.balance + sum(line.amount or 0 for line in entries) == closing.balance
        assert [line.balance for line in entries] == list(itertools.accumulate((line.amount or 0 for line in entries), initial=closed))[1:]
        closed = closing.balance
    assert closed == 10_000 + 50 - 101 - 211 - 307 - 401


async def test_only_an_account_with_a_balance_has_a_statement(database: Database) -> None:
    await books.limit(database, "lim", 5)
    for id in ("acc_nobody", "lim", "house:revenue"):
        with pytest.raises(UnknownAccount, match=f"there is no account {id}"):
            await lines(database, id)


async def test_an_account_that_did_nothing_has_no_rows_and_a_statement_of_two_lines(database: Database) -> None:
    await books.fund(database, "idle", 0)
    assert (await generations(database, "idle"), await days(database, "idle")) == ([], [])
    assert [(line.kind, line.balance) for line in await lines(database, "idle")] == [("opening", 0), ("closing", 0)]


ACCOUNTS = itertools.count()
MOMENTS = st.integers(0, 3)
KINDS = st.sampled_from(("charged", "free", "lost", "deposit"))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.tuples(KINDS, MOMENTS, MOMENTS), max_size=25), st.integers(1, 4), MOMENTS, MOMENTS)
async def test_pages_lose_nothing_and_show_nothing_twice(
    database: Database, made: list[tuple[str, int, int]], page: int, start: int, end: int
) -> None:
    """Many rows at the very same moments, the smallest pages: every page ends inside a crowd."""
    account_id = f"crowd_{next(ACCOUNTS)}"
    await books.fund(database, account_id, 0)
    rows, entries, expected, stated = [], [], [], []
    for number, (kind, began, booked) in enumerate(made):
        id = f"{account_id}_{(number * 7) % 26:02}"
        if kind in ("charged", "free"):
            rows.append(generation(id, MIDNIGHT - 2 + began, account_id, charge=number if kind == "charged" else 0))
        if kind != "free":
            signed, booked_as = (number, "deposit") if kind == "deposit" else (-number, "charge")
            entries += entry(id, MIDNIGHT - 2 + booked, signed, booked_as, account_id)
        moment = began if kind == "free" else booked
        if start <= moment < end and kind != "deposit":
            expected.append((moment, id))
        if start <= moment < end and kind != "free":
            stated.append((moment, id))
    await write(database, rows=rows, entries=entries)
    period = {"start": MIDNIGHT - 2 + start, "end": MIDNIGHT - 2 + end}
    with pytest.MonkeyPatch.context() as small:
        small.setattr(exports, "PAGE", page)
        small.setattr(statement, "PAGE", page)
        small.setattr(statement, "SUM_ROWS", page)
        small.setattr(daily, "WINDOW_ROWS", page)
        found = await generations(database, account_id, **period)
        by_day = await days(database, account_id, **period)
        opening, *listed, closing = await lines(database, account_id, **period)
    moments = [(row["charged_at"] or row["created_at"]) - MIDNIGHT + 2 for row in found]
    assert moments == sorted(moments)
    assert sorted(zip(moments, (row["id"] for row in found), strict=True)) == sorted(expected)
    assert [(line.at - MIDNIGHT + 2, line.id) for line in listed] == sorted(stated)
    assert sum(row["requests"] for row in by_day) == len(found)
    assert sum(row["charge_usd"] for row in by_day) == sum(row["charge_usd"] for row in found)
    assert opening.balance == sum(leg["amount"] for leg in entries if leg["account_id"] == account_id and leg["at"] < period["start"])
    assert closing.balance - opening.balance == sum(line.amount or 0 for line in listed)
