"""What is added up per hour and day is what the ledger and the exports say, to the nano-dollar, whatever happens in between."""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import insert
from sqlmodel import Session

from metering import exports, generation_list, recovery, rollups, seal, usage_view
from metering.batch import RECOVERED, CloseJob
from metering.database import Database
from metering.generation_list import Place
from metering.ledger import Ledger
from metering.rollups import DAY_MS, HOUR_MS, MARGIN_MS
from metering.tables import Entry, Generation, Hold
from metering.usage import Usage
from metering.usage_view import Used
from policy import key_facts
from tests import books

MIDNIGHT = books.START - books.START % DAY_MS + DAY_MS
HALF = 12 * HOUR_MS
NOW = MIDNIGHT + 2 * DAY_MS
SPAN = {"start": MIDNIGHT - DAY_MS, "end": MIDNIGHT + 3 * DAY_MS}
GROUPS: tuple[usage_view.Group, ...] = ("model", "provider", "key_id", "origin")


@pytest.fixture
async def database(migrated_database_url: str) -> AsyncIterator[Database]:
    async with books.opened(migrated_database_url) as database:
        for account_id in ("acc", "other"):
            await books.fund(database, account_id, 10**12)
        yield database


def used(
    draw: random.Random, number: int, account_id: str = "acc", since: int = MIDNIGHT - DAY_MS
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A generation of the half day after `since`, its row unless it was lost, and both legs of its charge if it had one."""
    charge = draw.choice((0, draw.randrange(1, 10**9)))
    at = since + draw.choice((draw.randrange(HALF), draw.randrange(12) * HOUR_MS, draw.randrange(1, 12) * HOUR_MS - 1))
    id = f"gen_{account_id}_{number:04}"
    row = books.generation(id, account_id, usage=Usage(prompt=draw.randrange(9), reasoning=draw.randrange(9)))
    row |= {
        "created_at": at, "charge": charge, "shortfall": draw.choice((0, 7)), "outcome": draw.choice(("completed", "failed", "recovered")),
        "model": draw.choice(("a/one", "a/two", "b/three")), "provider": draw.choice((None, "p1")), "key_id": draw.choice(("k1", "k2")),
        "origin": draw.choice((None, "https://app.example")), "first_byte_ms": draw.choice((None, 5)),
    }  # fmt: skip
    leg = {"transaction_id": id, "account_id": account_id, "kind": "charge", "at": at + draw.choice((0, 1, 40_000))}
    legs = [{**leg, "leg": 0, "amount": -charge}, {**leg, "leg": 1, "account_id": "house:revenue", "amount": charge}]
    return ([] if charge and draw.random() < 0.1 else [row]), (legs if charge else [])


def charged(id: str, at: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    row = books.generation(id, "acc", usage=Usage(prompt=1)) | {"created_at": at, "charge": 5}
    leg = {"transaction_id": id, "kind": "charge", "at": at}
    return [row], [{**leg, "leg": 0, "account_id": "acc", "amount": -5}, {**leg, "leg": 1, "account_id": "house:revenue", "amount": 5}]


async def write(database: Database, parts: list[tuple[list[dict[str, Any]], list[dict[str, Any]]]]) -> None:
    def work(session: Session) -> None:
        for table, rows in ((Generation, [row for part in parts for row in part[0]]), (Entry, [leg for part in parts for leg in part[1]])):
            if rows:
                session.connection().execute(insert(table), rows)

    await database.write(work)


async def seal_some(database: Database, limit: int) -> None:
    found = await database.read(seal.window, after=seal.BEGIN, limit=10_000)
    await database.write(seal.seal, found.unsealed[:limit], now=NOW)


async def exported(database: Database, reach: int, group: str | None, account_id: str = "acc") -> dict[tuple[int, str], Counter[str]]:
    """The export's rows added up here, by the time base that it states itself."""
    names = [column.name for column in exports.GENERATION_COLUMNS]
    found: dict[tuple[int, str], Counter[str]] = {}
    async for page in exports.generations(database, account_id, start=0, end=2**60, keys_named=key_facts.named):
        for row in (dict(zip(names, each, strict=True)) for each in page):
            lost = row["created_at"] is None
            if lost and row["model"] is None and row["charge_usd"] <= 0:
                continue
            moment = row["charged_at"] or row["created_at"]
            sums = found.setdefault((moment - moment % reach, (row[group] or "") if group else ""), Counter())
            sums.update({"requests": 1, "charge": row["charge_usd"], "shortfall": row["shortfall_usd"] or 0, "prompt": row["prompt"] or 0})
            sums.update({"reasoning": row["reasoning"] or 0, "errors": row["outcome"] in ("failed", "recovered")})
            sums.update({"first_byte_ms": row["first_byte_ms"] or 0, "duration_ms": row["duration_ms"] or 0})
    return found


def plain(used: Used) -> Counter[str]:
    units = dict(zip(usage_view.UNITS, used.units, strict=True))
    found = {name: getattr(used, name) for name in ("requests", "errors", "charge", "shortfall", "first_byte_ms", "duration_ms")}
    return Counter({**found, "prompt": units["prompt"], "reasoning": units["reasoning"]})


async def assert_exact(database: Database, account_id: str = "acc") -> None:
    """Every page, by hour and by day, in every group, is what the export says now."""
    steps: tuple[tuple[usage_view.Step, int], ...] = (("hour", HOUR_MS), ("day", DAY_MS))
    for step, reach in steps:
        for group in (None, *GROUPS):
            view = await database.read(usage_view.series, account_id, **SPAN, step=step, group=group)
            assert view.complete
            expected = await exported(database, reach, group, account_id)
            assert {place: plain(used) for place, used in view.rows.items()} == expected, (step, group)


async def assert_booked(database: Database, url: str) -> None:
    """The tables alone, without anything live, hold every charge of the ledger in its hour and day."""
    for table, begin, reach in (("usage_hour", "hour", HOUR_MS), ("usage_day", "day", DAY_MS)):
        added = await books.sql(url, f"SELECT account_id, {begin}, SUM(charge) FROM {table} GROUP BY 1, 2 HAVING SUM(charge) > 0")
        booked = await books.sql(
            url, f"SELECT account_id, at - at % {reach}, SUM(-amount) FROM entry WHERE kind = 'charge' AND leg = 0 GROUP BY 1, 2"
        )
        assert sorted((a, b, int(str(c))) for a, b, c in added) == sorted((a, b, int(str(c))) for a, b, c in booked)


async def crash(database: Database, *, now: int) -> None:
    """All of a step is done, and the process dies before it commits."""

    def work(session: Session) -> None:
        rollups.add(session, "acc", now=now, rows_max=50)
        raise KeyError

    with pytest.raises(KeyError):
        await database.write(work)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_hours_and_days_are_the_ledger_and_the_exports_with_crashes_and_two_that_add_up_at_once(
    database: Database, migrated_database_url: str, seed: int
) -> None:
    draw = random.Random(seed)
    async with books.connected(migrated_database_url) as second:
        for round in range(4):
            since = MIDNIGHT - DAY_MS + round * HALF
            accounts = draw.choices(("acc", "acc", "other"), k=60)
            await write(database, [used(draw, round * 100 + number, of, since) for number, of in enumerate(accounts)])
            await assert_exact(database)
            await seal_some(database, draw.randrange(60))
            now = since + HALF + MARGIN_MS
            await crash(database, now=now)
            await asyncio.gather(*(rollups.add_up(each, now=now, rows_max=draw.choice((1, 7, 100))) for each in (database, second)))
            await assert_exact(database)
    await seal_some(database, 10_000)
    assert await rollups.add_up(database, now=NOW, rows_max=50) > 0
    assert await rollups.add_up(database, now=NOW, rows_max=50) == 0
    await assert_booked(database, migrated_database_url)
    await assert_exact(database)
    await assert_exact(database, "other")
    counted = await books.sql(migrated_database_url, "SELECT SUM(requests) FROM usage_hour WHERE account_id = 'acc'")
    assert int(str(counted[0][0])) == sum(sums["requests"] for sums in (await exported(database, DAY_MS, None)).values())


async def test_a_generation_without_a_charge_that_is_recovered_days_later_is_counted_once(
    database: Database, migrated_database_url: str
) -> None:
    row = books.generation("gen_late", "acc", usage=Usage()) | {"outcome": "recovered", "created_at": MIDNIGHT}
    await write(database, [([books.generation("gen_done", "acc", usage=Usage()) | {"created_at": MIDNIGHT + 1}], [])])
    hold = {"id": "gen_late", "account_id": "acc", "amount": 0, "state": 0, "boot_id": "boot_1", "created_at": MIDNIGHT + 9}
    await database.write(lambda session: session.connection().execute(insert(Hold), [hold]) and None)
    assert await rollups.add_up(database, now=NOW, rows_max=50) == 0, "what began with the hold, or later, waits for it"
    await assert_exact(database)
    jobs = await database.read(recovery.strays, boot_id="boot_1", before=NOW, live=set())
    assert [job.id for job in jobs] == ["gen_late"]
    await Ledger(database, "boot_1").recover(CloseJob(id="gen_late", charge=0, state=RECOVERED, generation=row))
    await assert_exact(database)
    assert await rollups.add_up(database, now=NOW, rows_max=50) == 2
    await assert_exact(database)
    assert await books.sql(migrated_database_url, "SELECT requests, errors FROM usage_day") == [(2, 1)]


async def test_origins_go_with_the_days_over_and_nothing_else_changes(database: Database, migrated_database_url: str) -> None:
    draw = random.Random(5)
    await write(database, [used(draw, number, "acc", MIDNIGHT - HALF * (number % 2)) for number in range(80)])
    await seal_some(database, 10_000)
    await rollups.add_up(database, now=NOW, rows_max=50)
    before = [await database.read(usage_view.series, "acc", **SPAN, step=step, group="model") for step in ("hour", "day")]  # type: ignore[arg-type]
    named = await books.sql(migrated_database_url, "SELECT DISTINCT hour FROM usage_hour WHERE origin <> '' ORDER BY hour")
    await rollups.forget_origins(database, "acc", since=0, until=MIDNIGHT + HOUR_MS + 5)
    left = await books.sql(migrated_database_url, "SELECT DISTINCT hour FROM usage_hour WHERE origin <> '' ORDER BY hour")
    assert left == [(hour,) for (hour,) in named if hour >= MIDNIGHT + HOUR_MS] != named
    left = await books.sql(migrated_database_url, "SELECT day FROM usage_day WHERE origin <> '' ORDER BY day LIMIT 1")
    assert left == [(MIDNIGHT,)]
    await rollups.forget_origins(database, "acc", since=MIDNIGHT + HOUR_MS + 5, until=NOW)
    for table in ("usage_hour", "usage_day"):
        assert await books.sql(migrated_database_url, f"SELECT 1 FROM {table} WHERE origin <> ''") == []
    after = [await database.read(usage_view.series, "acc", **SPAN, step=step, group="model") for step in ("hour", "day")]  # type: ignore[arg-type]
    assert before == after


async def test_a_filter_and_a_total_say_what_the_series_says(database: Database) -> None:
    draw = random.Random(6)
    await write(database, [used(draw, number) for number in range(80)])
    await seal_some(database, 40)
    await rollups.add_up(database, now=NOW, rows_max=50)
    wanted: usage_view.Filters = {"model": ["a/one"], "key_id": ["k1", "none such"]}
    days = await database.read(usage_view.series, "acc", **SPAN, step="day", group="provider", filters=wanted)
    totals, complete = await database.read(usage_view.totals, "acc", **SPAN, group="provider", filters=wanted)
    sums: dict[str, Used] = {}
    for (_, name), each in days.rows.items():
        sums.setdefault(name, Used()).add(each)
    assert complete
    assert totals == dict(sorted(sums.items()))
    assert await database.read(usage_view.totals, "acc", **SPAN, filters={"origin": []}) == ({}, True)
    with pytest.raises(ValueError, match="beginnings of days"):
        await database.read(usage_view.series, "acc", start=5, end=DAY_MS, step="day")


async def test_far_behind_a_page_is_bounded_and_says_so(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(7)
    await write(database, [used(draw, number) for number in range(60)])
    assert (await database.read(usage_view.series, "acc", **SPAN, step="day")).complete
    monkeypatch.setattr(usage_view, "LIVE_MAX", 5)
    assert not (await database.read(usage_view.series, "acc", **SPAN, step="day")).complete
    await seal_some(database, 10_000)
    assert not (await database.read(usage_view.series, "acc", **SPAN, step="day")).complete
    await rollups.add_up(database, now=NOW, rows_max=50)
    await assert_exact(database)


async def test_the_list_goes_over_every_generation_once_newest_first_also_under_a_filter_that_gives_up(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(8)
    parts = [used(draw, number) for number in range(120)]
    rows = sorted((row for part in parts for row in part[0]), key=lambda row: (row["created_at"], row["id"]), reverse=True)
    await write(database, parts)
    monkeypatch.setattr(generation_list, "SCAN_MAX", 13)
    filters: tuple[dict[generation_list.Name, list[str]], ...] = ({}, {"model": ["b/three"], "outcome": ["failed"]}, {"key_id": ["nobody"]})
    for wanted in filters:
        found: list[str] = []
        place: Place | None = generation_list.NEWEST
        while place is not None:
            listed = await database.read(generation_list.newest, "acc", before=place, filters=wanted, page=7)
            found += [row.id for row in listed.rows]
            place = listed.next
        assert found == [row["id"] for row in rows if all(row[name] in values for name, values in wanted.items())]
    start, end = rows[100]["created_at"], rows[20]["created_at"]
    listed = await database.read(generation_list.newest, "acc", start=start, end=end, page=100)
    assert [row.id for row in listed.rows] == [row["id"] for row in rows if start <= row["created_at"] < end]
    speed = await database.read(generation_list.speed, "acc")
    assert speed.count == sum(row["outcome"] == "completed" for row in rows)
    assert (speed.first_byte_p50, speed.duration_p95) == (5, 9)


async def test_what_began_in_the_very_same_millisecond_is_added_up_however_little_fits_a_transaction(database: Database) -> None:
    row = books.generation("", "acc", usage=Usage()) | {"created_at": MIDNIGHT}
    await write(database, [([row | {"id": f"gen_{number}"}], []) for number in range(5)])
    assert await rollups.add_up(database, now=NOW, rows_max=2) == 5
    await assert_exact(database)


async def test_an_entry_that_was_committed_late_counts_at_once_though_a_younger_one_is_sealed(database: Database) -> None:
    late, younger = (charged(f"gen_{number}", at) for number, at in enumerate((MIDNIGHT, MIDNIGHT + 30_000)))
    await write(database, [younger])
    await seal_some(database, 10_000)
    await rollups.add_up(database, now=NOW, rows_max=50)
    await write(database, [late])
    await assert_exact(database)


async def test_a_page_is_of_one_moment_though_its_usage_is_added_up_while_it_is_read(
    database: Database, migrated_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, live = random.Random(9), usage_view._live
    await write(database, [used(draw, number) for number in range(40)])
    await seal_some(database, 30)
    expected = await exported(database, DAY_MS, None)

    async def add_up() -> None:
        async with books.connected(migrated_database_url) as second:
            assert await rollups.add_up(second, now=NOW, rows_max=50) > 0

    def interrupted(session: Session, account_id: str) -> Any:
        found = live(session, account_id)
        thread = threading.Thread(target=lambda: asyncio.run(add_up()))
        thread.start()
        thread.join()
        return found

    monkeypatch.setattr(usage_view, "_live", interrupted)
    view = await database.read(usage_view.series, "acc", **SPAN, step="day")
    assert {place: plain(used) for place, used in view.rows.items()} == expected
