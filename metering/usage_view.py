"""What an account used, per hour, per UTC day or in all, by model, provider, key or app: from what is added up, and the newest live.

The same time base as the exports: a charge belongs to the moment of its ledger entry, a generation without one to its beginning; days
are UTC days. Everything that is committed counts at once, to the nano-dollar: what lies behind the marks of `metering/rollups.py` is
added up from the books themselves, at most `LIVE_MAX` rows of each kind.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec
from sqlalchemy import Text, bindparam, text
from sqlmodel import Session

from metering.price import UNITS
from metering.rollup_tables import UsageMark
from metering.rollups import COUNTED, DAY_MS, FREE, HOUR_MS, NAMES, OF_CHARGES, OF_FREE, SEALED, TABLES

LIVE_MAX: Final = 20_000
LATE_MS: Final = 60_000
"""Before the newest sealed entry there may be some of the last minute that are not (`metering/sealer.py` looks back as far)."""
VALUES_MAX: Final = 1000
NAMES_MAX: Final = 200
GROUPS_MAX: Final = 20_000

Group = Literal["model", "provider", "key_id", "origin"]
Step = Literal["hour", "day"]
Filters = Mapping[Group, Sequence[str]]
"""For each name the values that count, at most `VALUES_MAX`; '' is what has none."""


class TooManyGroups(ValueError):
    """The text says how many there are at least."""


class Used(msgspec.Struct):
    """Amounts in nano-USD, `units` in the order of `price.UNITS`; `first_byte_ms` adds up `first_bytes` generations."""

    requests: int = 0
    errors: int = 0
    charge: int = 0
    shortfall: int = 0
    units: list[int] = msgspec.field(default_factory=lambda: [0] * len(UNITS))
    first_byte_ms: int = 0
    first_bytes: int = 0
    duration_ms: int = 0

    def add(self, other: "Used") -> None:
        self.requests += other.requests
        self.errors += other.errors
        self.charge += other.charge
        self.shortfall += other.shortfall
        self.units = [mine + theirs for mine, theirs in zip(self.units, other.units, strict=True)]
        self.first_byte_ms += other.first_byte_ms
        self.first_bytes += other.first_bytes
        self.duration_ms += other.duration_ms


class View(NamedTuple):
    """`rows` by (beginning of the hour or day in Unix ms, value of the group), in that order; with nothing used there is no row.

    `complete` is False while so much waits to be added up that the newest of it, or the oldest, is not in here yet.
    """

    rows: dict[tuple[int, str], Used]
    complete: bool


def series(
    session: Session, account_id: str, *, start: int, end: int, step: Step, group: Group | None = None, filters: Filters | None = None
) -> View:
    """What was used in start <= moment < end, two beginnings of hours (`step` hour) or of UTC days. ValueError for other moments,
    TooManyGroups for more than `GROUPS_MAX` rows, which only apps or long periods by hour can make.

    On Postgres it begins a snapshot: the session must not have run a statement yet, unless it was one of this file.
    """
    reach = HOUR_MS if step == "hour" else DAY_MS
    return _view(session, account_id, start, end, reach, reach, group, filters or {})


def totals(
    session: Session, account_id: str, *, start: int, end: int, group: Group | None = None, filters: Filters | None = None
) -> tuple[dict[str, Used], bool]:
    """The same for the whole period: by value of the group ('' alone without one), and whether it is complete."""
    reach = DAY_MS if start % DAY_MS == end % DAY_MS == 0 else HOUR_MS
    rows, complete = _view(session, account_id, start, end, reach, None, group, filters or {})
    return {name: used for (_, name), used in rows.items()}, complete


def names(session: Session, account_id: str, *, start: int, end: int) -> dict[str, list[str]]:
    """What a filter of the period can choose from: for each name at most `NAMES_MAX` values, of what is added up already."""
    where = {"account_id": account_id, "start": start - start % DAY_MS, "end": end, "most": NAMES_MAX}
    return {name: list(session.connection().execute(statement, where).scalars()) for name, statement in _VALUES.items()}


def snapshot(session: Session) -> None:
    """From here on the session sees the database as it is now, whatever is added up meanwhile; SQLite's readers always do."""
    if session.get_bind().dialect.name == "postgresql" and not session.info.get("snapshot"):
        session.connection().execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
        session.info["snapshot"] = True


class _Live(NamedTuple):
    """What is not added up yet: sealed entries in (seq, upto], others from the moment `late` on, free generations in [since, until)."""

    seq: int
    upto: int
    late: int
    since: int
    complete: bool


def _view(
    session: Session, account_id: str, start: int, end: int, reach: int, step: int | None, group: Group | None, filters: Filters
) -> View:
    if start % reach or end % reach or start > end:
        raise ValueError(f"start and end must be the beginnings of {'days' if reach == DAY_MS else 'hours'}, start not after end")
    snapshot(session)
    live = _live(session, account_id)
    values: dict[str, Any] = {"account_id": account_id, "start": start, "end": end, "seq": live.seq, "upto": live.upto}
    values |= {"late": max(live.late, start), "since": max(live.since, start), "until": end}
    values |= {name: list(wanted)[:VALUES_MAX] for name, wanted in filters.items()}
    found: dict[tuple[int, str], Used] = {}
    for statement in _statements(reach, step, group, filters):
        rows = session.connection().execute(statement, values | {"most": GROUPS_MAX + 1}).all()
        if len(rows) > GROUPS_MAX:
            raise TooManyGroups(f"There are more than {GROUPS_MAX:,} groups")
        for moment, name, *counts in rows:
            used = _used(counts)
            if used.requests:
                found.setdefault((start if step is None else moment, name), Used()).add(used)
    return View(dict(sorted(found.items())), live.complete)


def _live(session: Session, account_id: str) -> _Live:
    connection = session.connection()
    mark = session.get(UsageMark, account_id) or UsageMark(account_id=account_id)
    where: dict[str, Any] = {"account_id": account_id, "seq": mark.seq, "since": mark.until, "nth": LIVE_MAX}
    newest = connection.execute(_HEAD, where).first()
    head, at = (newest.seq, newest.at) if newest else (0, 0)
    where["late"] = at - LATE_MS
    entry = connection.execute(_NTH_ENTRY, where).scalar()
    free = connection.execute(_NTH_FREE, where).scalar()
    complete = entry is None and free is None and head - mark.seq <= LIVE_MAX
    late = where["late"] if entry is None else entry
    return _Live(mark.seq, min(head, mark.seq + LIVE_MAX), late, mark.until if free is None else free, complete)


def _used(counts: Sequence[Any]) -> Used:
    requests, errors, charge, shortfall, *units, first_byte_ms, first_bytes, duration_ms = map(int, counts)  # Postgres adds up to a NUMERIC
    return Used(requests, errors, charge, shortfall, units, first_byte_ms, first_bytes, duration_ms)


def _statements(reach: int, step: int | None, group: Group | None, filters: Filters) -> list[Any]:
    """Four sources: the table of hours or days, sealed entries, entries that are not sealed, generations without a charge."""
    table, begin = next((table, begin) for table, (begin, span) in TABLES.items() if span == reach)
    stored = f"FROM {table} g WHERE g.account_id = :account_id AND g.{begin} >= :start AND g.{begin} < :end"
    added = ", ".join(f"COALESCE(SUM(g.{name}), 0)" for name in COUNTED)
    sealed = f"FROM {SEALED} AND e.at >= :start AND e.at < :end"
    books = (("e.at", OF_CHARGES, sealed), ("e.at", OF_CHARGES, _UNSEALED), ("g.created_at", OF_FREE, f"FROM {FREE}"))
    # Bare columns, so that SQLite groups in the order of the primary key without sorting.
    first = _statement(f"g.{begin}" if step else None, added, stored, "g.{}", group, filters)
    rest = [
        _statement(f"{at} - {at} % {step}" if step else None, counts, source, "COALESCE(g.{}, '')", group, filters)
        for at, counts, source in books
    ]
    return [first, *rest]


def _statement(bucket: str | None, counts: str, source: str, name: str, group: Group | None, filters: Filters) -> Any:
    named = name.format(group) if group else "''"
    where = "".join(f" AND {name.format(each)} IN :{each}" for each in filters)
    grouped = ", ".join(filter(None, (bucket, group and named)))
    statement = f"SELECT {bucket or 0}, {named}, {counts} {source}{where}{' GROUP BY ' + grouped if grouped else ''} LIMIT :most"
    return text(statement).bindparams(*(bindparam(each, expanding=True, type_=Text) for each in filters))


_UNSEALED: Final = """FROM entry e LEFT JOIN generation g ON g.id = e.transaction_id
    WHERE e.account_id = :account_id AND e.leg = 0 AND e.kind = 'charge' AND e.at >= :late AND e.at < :end
    AND NOT EXISTS (SELECT 1 FROM seal s WHERE s.transaction_id = e.transaction_id)"""
_VALUES: Final = {
    name: text(f"""SELECT DISTINCT {name} FROM usage_day WHERE account_id = :account_id AND day >= :start AND day < :end
    ORDER BY {name} LIMIT :most""")  # noqa: S608 - our own names
    for name in NAMES
}
_HEAD: Final = text("""SELECT s.seq, e.at FROM seal s JOIN entry e ON e.transaction_id = s.transaction_id AND e.leg = 0
    WHERE s.account_id = :account_id ORDER BY s.seq DESC LIMIT 1""")
_NTH_ENTRY: Final = text("""SELECT at FROM entry WHERE account_id = :account_id AND leg = 0 AND at >= :late
    ORDER BY at DESC LIMIT 1 OFFSET :nth""")
_NTH_FREE: Final = text("""SELECT created_at FROM generation WHERE account_id = :account_id AND charge = 0 AND created_at >= :since
    ORDER BY created_at DESC LIMIT 1 OFFSET :nth""")
