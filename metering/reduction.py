"""Generations that are older than the metadata of them may be: cut down to what the books need, a page at a time.

The pages go over the index of an account's generations, from where the last round ended: what is done is never read again.
"""

from typing import Final, NamedTuple

from sqlalchemy import bindparam, text
from sqlmodel import Session, col, select

from metering.generations import NOTHING_BUT_BILLING
from metering.tables import Account, Generation, Hold

PAGE: Final = 1000
ACCOUNTS: Final = 1000


class Place(NamedTuple):
    """Behind the generation `id` of the moment `at` (Unix ms)."""

    at: int
    id: str


START: Final = Place(0, "")


def accounts(session: Session, *, after: str) -> list[str]:
    """The next `ACCOUNTS` accounts behind `after`, in the order of their ids."""
    found = select(Account.id).where(Account.kind == "prepaid", col(Account.id) > after).order_by(col(Account.id)).limit(ACCOUNTS)
    return list(session.exec(found))


def reduce(session: Session, account_id: str, *, after: Place, until: int) -> tuple[int, Place | None]:
    """Reduces the next `PAGE` generations of an account that began before `until` (Unix ms): how many, and where to go on, if anywhere.

    What recovery once noted beside their holds goes too. Charges, units and prices stay, and so does every sum.
    """
    where = {"account_id": account_id, "at": after.at, "id": after.id, "until": until, "page": PAGE}
    rows = session.connection().execute(_NEXT, where).all()
    if not rows:
        return 0, None
    ids = [row.id for row in rows]
    session.connection().execute(_REDUCE, {"ids": ids, **NOTHING_BUT_BILLING})
    session.connection().execute(_FORGET_PROGRESS, {"ids": ids})
    return len(ids), Place(rows[-1].created_at, rows[-1].id) if len(rows) == PAGE else None


_NEXT: Final = text(f"""SELECT id, created_at FROM {Generation.__tablename__}
    WHERE account_id = :account_id AND created_at >= :at AND created_at < :until AND (created_at > :at OR id > :id)
    ORDER BY created_at, id LIMIT :page""")  # noqa: S608 - our own names
_SET: Final = ", ".join(f"{name} = :{name}" for name in NOTHING_BUT_BILLING)
_REDUCE: Final = text(f"UPDATE {Generation.__tablename__} SET {_SET} WHERE id IN :ids").bindparams(  # noqa: S608
    bindparam("ids", expanding=True)
)
_FORGET_PROGRESS: Final = text(f"UPDATE {Hold.__tablename__} SET progress = NULL WHERE id IN :ids AND progress IS NOT NULL").bindparams(  # noqa: S608
    bindparam("ids", expanding=True)
)
