"""What an account used per UTC day, added up by the database in windows short enough that nobody waits for them.

The same time base as `exports`: a charge belongs to the moment of its ledger entry, a generation without one to its beginning.
"""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from sqlalchemy import text
from sqlmodel import Session

from metering.database import Database
from metering.price import UNITS

DAY_MS: Final = 86_400_000
WINDOW_ROWS: Final = 10_000
"""About as many entries, and as many generations, are added up in one read; more only where they have the very same moment."""

Group = tuple[str | None, ...]


class Sums(msgspec.Struct):
    """`requests` counts generations, and charges that lost theirs; `charge` and `shortfall` are nano-USD, `units` as in `price.UNITS`."""

    requests: int
    charge: int
    shortfall: int
    units: list[int]

    def add(self, other: "Sums") -> None:
        self.requests += other.requests
        self.charge += other.charge
        self.shortfall += other.shortfall
        self.units = [mine + theirs for mine, theirs in zip(self.units, other.units, strict=True)]


async def sums(
    database: Database, account_id: str, *, start: int, end: int, group: tuple[str, ...], key_id: str | None = None
) -> AsyncGenerator[tuple[str, dict[Group, Sums]], None]:
    """(day as YYYY-MM-DD, sums by the values of `group`) for every UTC day with rows in start <= moment < end, in order.

    `group` names columns of table `generation`; they are None for a charge without a generation. With `key_id` only what was asked
    with that API key counts. Only one day is kept at a time.
    """
    day, groups, at = "", dict[Group, Sums](), start
    while (part := await database.read(_part, account_id, at, end, group, key_id)) is not None:
        if part.day != day and groups:
            yield day, groups
            groups = {}
        day, at = part.day, part.until
        for values, found in part.groups:
            if values in groups:
                groups[values].add(found)
            else:
                groups[values] = found
    if groups:
        yield day, groups


class _Part(msgspec.Struct):
    """The sums of a window that lies within one day; the next one begins at `until`."""

    day: str
    until: int
    groups: list[tuple[Group, Sums]]


def _part(session: Session, account_id: str, start: int, end: int, group: tuple[str, ...], key_id: str | None) -> _Part | None:
    """The first window that has rows; None if there are none any more."""
    connection = session.connection()
    first = connection.execute(_NTH, {"account_id": account_id, "start": start, "end": end, "nth": 0}).scalar()
    if first is None:
        return None
    midnight = first - first % DAY_MS + DAY_MS
    window = {"account_id": account_id, "start": first, "end": min(midnight, end)}
    cut = connection.execute(_NTH, {**window, "nth": WINDOW_ROWS}).scalar()
    window["end"] = window["end"] if cut is None else max(cut, first + 1)
    added = text(_SUMS.format(group=", ".join(group), where="" if key_id is None else "WHERE key_id = :key_id"))
    rows = connection.execute(added, window if key_id is None else {**window, "key_id": key_id}).all()
    day = datetime.fromtimestamp(first // 1000, UTC).date().isoformat()
    return _Part(day, window["end"], [_sums(row, len(group)) for row in rows])


def _sums(row: Any, names: int) -> tuple[Group, Sums]:
    requests, charge, shortfall, *units = map(int, row[names:])  # Postgres adds BIGINTs up to a NUMERIC
    return tuple(row[:names]), Sums(requests, charge, shortfall, units)


_NTH: Final = text("""SELECT MIN(moment) FROM (
    SELECT moment FROM (SELECT at AS moment FROM entry WHERE account_id = :account_id AND at >= :start AND at < :end
        ORDER BY at LIMIT 1 OFFSET :nth) e
    UNION ALL
    SELECT moment FROM (SELECT created_at AS moment FROM generation
        WHERE account_id = :account_id AND created_at >= :start AND created_at < :end ORDER BY created_at LIMIT 1 OFFSET :nth) g) m""")
_NAMES: Final = "g.model, g.provider, g.endpoint, g.key_id, g.own_key_id, g.price_id, g.usage_source"
_USED: Final = ", ".join(f"g.{unit}" for unit in UNITS)
_ADDED: Final = ", ".join(f"COALESCE(SUM({unit}), 0)" for unit in UNITS)
_SUMS: Final = f"""SELECT {{group}}, COUNT(*), SUM(cost), COALESCE(SUM(shortfall), 0), {_ADDED} FROM (
    SELECT {_NAMES}, -e.amount AS cost, g.shortfall, {_USED}
        FROM entry e LEFT JOIN generation g ON g.id = e.transaction_id
        WHERE e.account_id = :account_id AND e.kind = 'charge' AND e.leg = 0 AND e.at >= :start AND e.at < :end
    UNION ALL
    SELECT {_NAMES}, 0 AS cost, g.shortfall, {_USED} FROM generation g
        WHERE g.account_id = :account_id AND g.created_at >= :start AND g.created_at < :end
        AND NOT EXISTS (SELECT 1 FROM entry e WHERE e.transaction_id = g.id AND e.leg = 0)) u
    {{where}} GROUP BY {{group}} ORDER BY {{group}}"""  # noqa: S608 - our own column names
