"""What content an account has stored, without opening it: how much, since when and until when, bounded however much it is; one log."""

from typing import Final

import msgspec
import sqlalchemy
from sqlmodel import Session, col

from policy.content_store import DAY_MS, Log
from policy.privacy_tables import StoredContent

COUNTED_MAX: Final = 10_000
"""The newest so many logs are looked at one by one."""


class Kept(msgspec.Struct, frozen=True):
    """Times in Unix ms, None where nothing is kept. `more`: there are more than `count`; then `ends` is the latest moment possible."""

    count: int
    more: bool
    oldest: int | None
    newest: int | None
    ends: int | None


def kept(session: Session, account_id: str, *, longest_days: int, now: int) -> Kept:
    """`longest_days`: the longest retention that the account ever chose."""
    row = StoredContent
    at = col(row.created_at)
    mine = sqlalchemy.select(at, col(row.expires_at)).where(col(row.account_id) == account_id, col(row.expires_at) > now)
    newest = mine.order_by(at.desc()).limit(COUNTED_MAX + 1).subquery()
    figures = sqlalchemy.select(sqlalchemy.func.count(), *(f(newest.c[n]) for f, n in _FIGURES))
    count, first, last, ends = session.connection().execute(figures).one()
    if count <= COUNTED_MAX:
        return Kept(count, False, first, last, ends)
    oldest = session.connection().execute(mine.order_by(at).limit(1)).one()
    return Kept(COUNTED_MAX, True, oldest.created_at, last, max(ends, first + longest_days * DAY_MS))


def one(session: Session, account_id: str, generation_id: str, *, now: int) -> Log | None:
    """None also for another account's, and for one whose days are over."""
    row = StoredContent
    wanted = sqlalchemy.select(col(row.generation_id), col(row.key_id), col(row.created_at), col(row.expires_at), col(row.size))
    wanted = wanted.where(col(row.generation_id) == generation_id, col(row.account_id) == account_id, col(row.expires_at) > now)
    found = session.connection().execute(wanted).one_or_none()
    return None if found is None else Log(*found)


_FIGURES: Final = (
    (sqlalchemy.func.min, "created_at"),
    (sqlalchemy.func.max, "created_at"),
    (sqlalchemy.func.max, "expires_at"),
)
