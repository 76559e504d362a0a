"""Adds up what was used, per hour and per day, from the books: every charge once, every generation without one once, and never anew.

Charges follow the seals, which number an account's entries without a gap: one transaction adds the next ones and moves the mark behind
them. A generation without a charge has no entry; it counts once it cannot come late any more. Its row is written when its hold ends, so
none of an account's is missing that began `MARGIN_MS` before its oldest open hold and before now: up to there the mark may move, however
late a recovery is. What lies behind the marks is read live (`metering/usage_view.py`).
"""

import asyncio
from typing import Final, NamedTuple

from sqlalchemy import TextClause, text
from sqlmodel import Session, select

from metering.batch import OPEN
from metering.database import Database
from metering.price import UNITS
from metering.rollup_tables import UsageMark

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
MARGIN_MS: Final = 20 * 60_000
"""Much longer than a request takes from its beginning to its hold, and than clocks differ."""
ACCOUNTS: Final = 1000
PAUSE_SECONDS: Final = 0.005

NAMES: Final = ("model", "provider", "key_id", "origin")
COUNTED: Final = ("requests", "errors", "charge", "shortfall", *UNITS, "first_byte_ms", "first_bytes", "duration_ms")
TABLES: Final = {"usage_hour": ("hour", HOUR_MS), "usage_day": ("day", DAY_MS)}
"""Table -> its column of time, and how long its rows reach."""


class Behind(NamedTuple):
    """Accounts that have something to add up, of those up to `last`; None: these were all there are."""

    accounts: list[str]
    last: str | None


async def add_up(database: Database, *, now: int, rows_max: int) -> int:
    """Adds up whatever there is, in short transactions; how many charges and generations. Doing it twice, or at once, is harmless."""
    added, after = 0, ""
    while True:
        found = await database.read(behind, after=after, until=now - MARGIN_MS)
        for account_id in found.accounts:
            while count := await database.write(add, account_id, now=now, rows_max=rows_max):
                added += count
                await asyncio.sleep(PAUSE_SECONDS)
        if found.last is None:
            return added
        after = found.last
        await asyncio.sleep(0)


def behind(session: Session, *, after: str, until: int) -> Behind:
    """Looks at the next `ACCOUNTS` accounts in the order of their ids."""
    rows = session.connection().execute(_BEHIND, {"after": after, "until": until, "accounts": ACCOUNTS}).all()
    return Behind([row.id for row in rows if row.behind], rows[-1].id if len(rows) == ACCOUNTS else None)


def add(session: Session, account_id: str, *, now: int, rows_max: int) -> int:
    """Adds the account's next entries, else its next generations without a charge, at most `rows_max`; how many, 0 when it is done."""
    mark = _locked(session, account_id)
    return _add_charges(session, mark, rows_max) or _add_free(session, mark, now - MARGIN_MS, rows_max)


async def forget_origins(database: Database, account_id: str, *, since: int, until: int) -> None:
    """Of the hours and days that begin at `since` or later and end by `until` (Unix ms): what an origin counted is counted as ''.

    One day in a transaction; a day that began before `since` is looked at whole.
    """
    where = {"since": since - since % DAY_MS, "until": until}
    while (first := await database.read(_first_origin, account_id, **where)) is not None:
        day = first - first % DAY_MS
        await database.write(_forget_origins, account_id, since=day, until=min(until, day + DAY_MS))
        where["since"] = day + DAY_MS


def _first_origin(session: Session, account_id: str, *, since: int, until: int) -> int | None:
    where = {"account_id": account_id, "since": since}
    found = [session.connection().execute(_ORIGIN[table], where | {"last": until - reach}).scalar() for table, (_, reach) in TABLES.items()]
    return min((first for first in found if first is not None), default=None)


def _forget_origins(session: Session, account_id: str, *, since: int, until: int) -> None:
    """Under the mark's lock: whoever adds up afterwards sees generations that have lost their origin already."""
    _locked(session, account_id)
    for table, (_, reach) in TABLES.items():
        where = {"account_id": account_id, "since": since, "last": until - reach}
        session.connection().execute(_MERGE[table], where)
        session.connection().execute(_FORGET[table], where)


def _locked(session: Session, account_id: str) -> UsageMark:
    """The account's mark; of two who add up the same account one waits until the other has committed."""
    session.connection().execute(_BEGIN, {"account_id": account_id})
    statement = select(UsageMark).where(UsageMark.account_id == account_id).with_for_update()
    return session.exec(statement, execution_options={"populate_existing": True}).one()


def _add_charges(session: Session, mark: UsageMark, rows_max: int) -> int:
    head = session.connection().execute(_HEAD, {"account_id": mark.account_id}).scalar() or 0
    upto = min(head, mark.seq + rows_max)
    if upto <= mark.seq:
        return 0
    _count(session, _CHARGES, {"account_id": mark.account_id, "seq": mark.seq, "upto": upto})
    added, mark.seq = upto - mark.seq, upto
    session.add(mark)
    return added


def _add_free(session: Session, mark: UsageMark, until: int, rows_max: int) -> int:
    connection = session.connection()
    oldest = connection.execute(_OLDEST_HOLD, {"account_id": mark.account_id}).scalar()
    until = until if oldest is None else min(until, oldest - MARGIN_MS)
    where: dict[str, str | int] = {"account_id": mark.account_id, "since": mark.until, "until": until}
    first = connection.execute(_NTH_FREE, {**where, "nth": 0}).scalar()
    if first is None:
        return 0
    cut = connection.execute(_NTH_FREE, {**where, "nth": rows_max}).scalar()
    mark.until = where["until"] = until if cut is None else max(cut, first + 1)
    session.add(mark)
    return _count(session, _WITHOUT_CHARGE, where)


def _count(session: Session, by_hour: TextClause, where: dict[str, str | int]) -> int:
    """Reads the books once for both tables; how many charges or generations it counted."""
    rows = [dict(zip(_COLUMNS, row, strict=True)) for row in session.connection().execute(by_hour, where)]
    for row in rows:
        row.update({name: int(row[name]) for name in COUNTED}, account_id=where["account_id"])  # Postgres adds up to a NUMERIC
    for table, (_, reach) in TABLES.items() if rows else ():
        session.connection().execute(_COUNT[table], [{**row, "begin": row["hour"] - row["hour"] % reach} for row in rows])
    return sum(row["requests"] for row in rows)


GROUPED: Final = "COALESCE(g.model, ''), COALESCE(g.provider, ''), COALESCE(g.key_id, ''), COALESCE(g.origin, '')"
_COUNTS: Final = f"""COUNT(*), COUNT(CASE WHEN g.outcome IN ('failed', 'recovered') THEN 1 END), {{charge}}, COALESCE(SUM(g.shortfall), 0),
    {", ".join(f"COALESCE(SUM(g.{unit}), 0)" for unit in UNITS)},
    COALESCE(SUM(g.first_byte_ms), 0), COUNT(g.first_byte_ms), COALESCE(SUM(g.duration_ms), 0)"""
"""In the order of `COUNTED`. A process that died in the middle of an answer is an error, too."""
OF_CHARGES: Final = _COUNTS.format(charge="-COALESCE(SUM(e.amount), 0)")
OF_FREE: Final = _COUNTS.format(charge="0")
SEALED: Final = """seal s JOIN entry e ON e.transaction_id = s.transaction_id AND e.leg = 0 AND e.kind = 'charge'
    LEFT JOIN generation g ON g.id = e.transaction_id WHERE s.account_id = :account_id AND s.seq > :seq AND s.seq <= :upto"""
FREE: Final = """generation g WHERE g.account_id = :account_id AND g.charge = 0 AND g.created_at >= :since AND g.created_at < :until
    AND NOT EXISTS (SELECT 1 FROM entry e WHERE e.transaction_id = g.id AND e.leg = 0)"""
"""What is added up of charges and of the rest; `seq`, `upto`, `since` and `until` as in `UsageMark`."""


def _upsert(table: str, select: str) -> TextClause:
    begin, _ = TABLES[table]
    more = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in COUNTED)
    return text(f"""INSERT INTO {table} (account_id, {begin}, {", ".join((*NAMES, *COUNTED))}) {select}
        ON CONFLICT (account_id, {begin}, {", ".join(NAMES)}) DO UPDATE SET {more}""")


def _by_hour(moment: str, counts: str, source: str) -> TextClause:
    return text(f"SELECT {moment} - {moment} % {HOUR_MS}, {GROUPED}, {counts} FROM {source} GROUP BY 1, 2, 3, 4, 5")  # noqa: S608


_COLUMNS: Final = ("hour", *NAMES, *COUNTED)
_CHARGES: Final = _by_hour("e.at", OF_CHARGES, SEALED)
_WITHOUT_CHARGE: Final = _by_hour("g.created_at", OF_FREE, FREE)
_VALUES: Final = ", ".join(f":{name}" for name in (*NAMES, *COUNTED))
_COUNT: Final = {table: _upsert(table, f"VALUES (:account_id, :begin, {_VALUES})") for table in TABLES}
_NTH_FREE: Final = text("""SELECT created_at FROM generation WHERE account_id = :account_id AND charge = 0
    AND created_at >= :since AND created_at < :until ORDER BY created_at LIMIT 1 OFFSET :nth""")
_HEAD: Final = text("SELECT MAX(seq) FROM seal WHERE account_id = :account_id")
_OLDEST_HOLD: Final = text(f"SELECT MIN(created_at) FROM hold WHERE account_id = :account_id AND state = {OPEN}")  # noqa: S608
_BEGIN: Final = text("INSERT INTO usage_mark (account_id, seq, until) VALUES (:account_id, 0, 0) ON CONFLICT (account_id) DO NOTHING")
_BEHIND: Final = text("""SELECT a.id, COALESCE(m.seq, 0) < COALESCE((SELECT MAX(s.seq) FROM seal s WHERE s.account_id = a.id), 0)
        OR EXISTS (SELECT 1 FROM generation g WHERE g.account_id = a.id AND g.charge = 0
            AND g.created_at >= COALESCE(m.until, 0) AND g.created_at < :until) AS behind
    FROM account a LEFT JOIN usage_mark m ON m.account_id = a.id
    WHERE a.kind = 'prepaid' AND a.id > :after ORDER BY a.id LIMIT :accounts""")
_WITH_ORIGIN: Final = "account_id = :account_id AND {begin} >= :since AND {begin} <= :last AND origin <> ''"
_ORIGIN: Final = {
    table: text(f"SELECT MIN({begin}) FROM {table} WHERE {_WITH_ORIGIN.format(begin=begin)}")  # noqa: S608
    for table, (begin, _) in TABLES.items()
}
_FORGET: Final = {table: text(f"DELETE FROM {table} WHERE {_WITH_ORIGIN.format(begin=begin)}") for table, (begin, _) in TABLES.items()}  # noqa: S608
_MERGE: Final = {
    table: _upsert(
        table,
        f"""SELECT account_id, {begin}, model, provider, key_id, '', {", ".join(f"SUM({name})" for name in COUNTED)} FROM {table}
        WHERE {_WITH_ORIGIN.format(begin=begin)} GROUP BY account_id, {begin}, model, provider, key_id""",  # noqa: S608
    )
    for table, (begin, _) in TABLES.items()
}
