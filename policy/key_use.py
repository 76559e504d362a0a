"""What API keys have used: credits charged through them, and what customers' own provider keys used through them at list price."""

from collections.abc import Collection, Sequence
from typing import Final

import msgspec
from sqlalchemy import bindparam, text
from sqlmodel import Session, col, select

from metering import own_use
from metering.periods import RESETS, period
from metering.tables import Account
from policy import keys
from policy.tables import Key


class Spent(msgspec.Struct, frozen=True):
    """Nano-USD: ever, and in the present UTC day, week (from Monday) and month."""

    total: int = 0
    day: int = 0
    week: int = 0
    month: int = 0


class Use(msgspec.Struct, frozen=True):
    """`charged` to the account, `own` at list price where the customer's own provider key paid; Unix milliseconds, None = never used."""

    charged: Spent = Spent()
    own: Spent = Spent()
    last_used_at: int | None = None


class Seen(msgspec.Struct, frozen=True):
    """A key, its budget row and what it has used."""

    key: Key
    limit: Account | None
    use: Use


NO_USE: Final = Use()


def seen(session: Session, rows: Sequence[Key], *, now: int) -> list[Seen]:
    """Each key with its figures, added up from the key's generations: 0.5 us for each on SQLite, so ask for a few keys at a time."""
    used = _by_key(session, [key.id for key in rows], now)
    limits = _limits(session, [key.limit_id for key in rows if key.limit_id])
    return [Seen(key, limits.get(key.limit_id or ""), used.get(key.id, NO_USE)) for key in rows]


def limited(session: Session, rows: Sequence[Key]) -> list[Seen]:
    """Each key with its budget row alone: quick, however much it used."""
    limits = _limits(session, [key.limit_id for key in rows if key.limit_id])
    return [Seen(key, limits.get(key.limit_id or ""), NO_USE) for key in rows]


def of_caller(session: Session, key_id: str, *, now: int) -> tuple[Seen, list[tuple[Account, str]]]:
    """A key that exists, as its caller has just been identified by it, and all the limits that bound it, each with its scope."""
    key = session.get_one(Key, key_id)
    [found] = seen(session, [key], now=now)
    return found, keys.bounding(session, key)


def _by_key(session: Session, key_ids: Collection[str], now: int) -> dict[str, Use]:
    if not key_ids:
        return {}
    starts = [0, *(period(reset, now)[0] for reset in RESETS)]
    bounds = dict(zip(("day", "week", "month"), starts[1:], strict=True))
    rows = session.connection().execute(_CHARGED, {"key_ids": sorted(key_ids), **bounds}).all()
    own = own_use.by_key(session, [row[0] for row in rows], starts) if rows else {}
    return {id: Use(Spent(*map(int, charged)), Spent(*own.get(id, ())), last) for id, last, *charged in rows}


def _limits(session: Session, ids: Collection[str]) -> dict[str, Account]:
    found = select(Account).where(col(Account.id).in_(sorted(ids)))
    return {limit.id: limit for limit in session.exec(found, execution_options={"populate_existing": True})} if ids else {}


_CHARGED: Final = text("""SELECT key_id, MAX(created_at), SUM(charge),
    SUM(CASE WHEN created_at >= :day THEN charge ELSE 0 END), SUM(CASE WHEN created_at >= :week THEN charge ELSE 0 END),
    SUM(CASE WHEN created_at >= :month THEN charge ELSE 0 END)
    FROM generation WHERE key_id IN :key_ids GROUP BY key_id""").bindparams(bindparam("key_ids", expanding=True))
