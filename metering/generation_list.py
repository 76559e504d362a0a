"""An account's generations, newest first, in pages that stay quick however many there are; and how fast the newest of them were.

A page reads the index of the account's generations from where the last one ended. Under a filter that fits few rows it gives up after
`SCAN_MAX` of them and says where to go on.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec
from sqlalchemy import Text, bindparam, text
from sqlmodel import Session

from metering.reduction import Place

PAGE_MAX: Final = 100
SCAN_MAX: Final = 5000
LATEST: Final = 1000
VALUES_MAX: Final = 1000
NEWEST: Final = Place(2**62, "")

Name = Literal["model", "provider", "key_id", "origin", "outcome", "error_type"]


class Listed(NamedTuple):
    """`rows` have the columns of `COLUMNS`; `next` is where older ones begin, None if there are none.

    With fewer rows than a page and a `next`, only a part was looked at.
    """

    rows: list[Any]
    next: Place | None


class Speed(msgspec.Struct, frozen=True):
    """Milliseconds of `count` completed generations; None where there is none (or none that said when its first byte came)."""

    count: int
    first_byte_p50: int | None
    first_byte_p95: int | None
    duration_p50: int | None
    duration_p95: int | None


def newest(
    session: Session, account_id: str, *, before: Place = NEWEST, start: int = 0, end: int = 2**62,
    filters: Mapping[Name, Sequence[str]] | None = None, page: int = 50,
) -> Listed:  # fmt: skip
    """The next generations that began at start <= moment < end (Unix ms), behind `before`; for each name of a filter its values count."""
    filters, page = filters or {}, min(page, PAGE_MAX)
    where: dict[str, Any] = {
        "account_id": account_id,
        "at": min(before.at, end),
        "id": before.id if before.at < end else "",
        "start": start,
    }
    cut = session.connection().execute(_CUT, {**where, "scan": SCAN_MAX}).scalar() if filters else None
    where |= {"start": start if cut is None else max(start, cut), "rows": page + 1}
    where |= {name: list(values)[:VALUES_MAX] for name, values in filters.items()}
    wanted = "".join(f" AND {name} IN :{name}" for name in filters)
    statement = text(_PAGE.format(wanted=wanted)).bindparams(*(bindparam(name, expanding=True, type_=Text) for name in filters))
    rows = list(session.connection().execute(statement, where).all())
    if len(rows) > page:
        return Listed(rows[:page], Place(rows[page - 1].created_at, rows[page - 1].id))
    return Listed(rows, None if cut is None else Place(cut, ""))


def speed(session: Session, account_id: str) -> Speed:
    """Of those of the newest `LATEST` generations that were completed."""
    rows = session.connection().execute(_LATEST, {"account_id": account_id, "rows": LATEST}).all()
    completed = [row for row in rows if row.outcome == "completed"]
    firsts = sorted(row.first_byte_ms for row in completed if row.first_byte_ms is not None)
    durations = sorted(row.duration_ms for row in completed)
    return Speed(len(completed), _percentile(firsts, 50), _percentile(firsts, 95), _percentile(durations, 50), _percentile(durations, 95))


def _percentile(ordered: Sequence[int], percent: int) -> int | None:
    """The smallest value that at least so many percent are not above."""
    return ordered[(len(ordered) * percent + 99) // 100 - 1] if ordered else None


COLUMNS: Final = (
    *("id", "created_at", "key_id", "model", "provider", "api_type", "streamed", "outcome", "finish_reason", "error_type"),
    *("prompt", "cached_prompt", "cache_write", "image", "audio", "completion", "reasoning", "audio_completion"),
    *("charge", "shortfall", "first_byte_ms", "duration_ms", "origin", "title", "own_key_id"),
)
_BEHIND: Final = "account_id = :account_id AND created_at >= :start AND created_at <= :at AND (created_at < :at OR id < :id)"
_CUT: Final = text(f"SELECT created_at FROM generation WHERE {_BEHIND} ORDER BY created_at DESC LIMIT 1 OFFSET :scan")  # noqa: S608
_PAGE: Final = f"""SELECT {", ".join(COLUMNS)} FROM generation WHERE {_BEHIND}{{wanted}}
    ORDER BY created_at DESC, id DESC LIMIT :rows"""  # noqa: S608 - our own names
_LATEST: Final = text("""SELECT outcome, first_byte_ms, duration_ms FROM generation WHERE account_id = :account_id
    ORDER BY created_at DESC LIMIT :rows""")
