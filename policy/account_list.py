"""Accounts as the operator sees them: found by id or by a member's address, with balance and state, a page at a time."""

from typing import Final

import msgspec
from sqlalchemy import text
from sqlmodel import Session

PAGE: Final = 50


class Row(msgspec.Struct, frozen=True):
    """Amounts in nano-USD; `email` the owner's, None where there is none any more; `state` None for an active account."""

    id: str
    email: str | None
    posted: int
    held: int
    state: str | None
    created_at: int


def page(session: Session, *, wanted: str = "", after: str = "") -> list[Row]:
    """The next `PAGE` accounts behind an id; `wanted` is an account's id or the beginning of a member's address."""
    statement = _ALL if not wanted else _FOUND
    like = wanted.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    rows = session.connection().execute(statement, {"after": after, "rows": PAGE, **({"id": wanted, "email": like} if wanted else {})})
    return [Row(*row) for row in rows]


_COLUMNS: Final = """SELECT a.id, (SELECT MIN(m.email) FROM member m WHERE m.account_id = a.id AND m.role = 'owner'),
    a.posted, a.held, s.state, a.created_at FROM account a
    LEFT JOIN account_state s ON s.account_id = a.id WHERE a.kind = 'prepaid' AND a.id > :after"""
_ALL: Final = text(f"{_COLUMNS} ORDER BY a.id LIMIT :rows")
_FOUND: Final = text(
    f"""{_COLUMNS} AND (a.id = :id OR a.id IN (SELECT m.account_id FROM member m WHERE LOWER(m.email) LIKE :email ESCAPE '\\'))
    ORDER BY a.id LIMIT :rows"""  # noqa: S608 - our own text
)
