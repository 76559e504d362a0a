"""One month of an account's statement for a page: exact balances and sums, and the first entries, however long the books are.

`statement.lines` adds up every entry there is. Here the balance as it is now is taken back to the month: charges come from what is added
up per day (`usage_view`), everything else, which is little, from an index of its own. All of it is read in one snapshot, so that
opening + other - charged = closing, and the closing balance of the month that is running is the account's.
"""

from typing import Any, Final

import msgspec
from sqlalchemy import text
from sqlmodel import Session

from metering import statement, usage_view
from metering.statement import Line
from metering.tables import Account
from metering.usage_view import snapshot

ROWS: Final = 200
_FOR_EVER: Final = 100_000 * 86_400_000


class Month(msgspec.Struct, frozen=True, kw_only=True):
    """Nano-USD. `other` by kind of entry (deposit, refund, expiry) with its sign, `charged` for generations, `lines` the first
    `ROWS` entries with the balance after each; `more`: there are others."""

    opening: int
    other: dict[str, int]
    charged: int
    closing: int
    lines: list[Line]
    more: bool


def month(session: Session, account_id: str, *, start: int, end: int) -> Month | None:
    """Entries with start <= at < end, two beginnings of UTC days. UnknownAccount. Nothing else may have been asked in its transaction.

    None while so much waits to be added up that the balances are not known yet.
    """
    snapshot(session)
    statement.check_account(session, account_id)
    charged, complete = _charged(session, account_id, start, end)
    charged_later, _ = _charged(session, account_id, end, _FOR_EVER)
    if not complete:
        return None
    where: dict[str, Any] = {"account_id": account_id, "start": start, "end": end}
    other = {kind: int(amount) for kind, amount in session.connection().execute(_OTHER, where)}
    other_later = int(session.connection().execute(_OTHER_LATER, where).scalar_one())
    closing = session.get_one(Account, account_id).posted - other_later + charged_later
    opening = closing - sum(other.values()) + charged
    lines, more = _first(session, where, opening)
    return Month(opening=opening, other=other, charged=charged, closing=closing, lines=lines, more=more)


def _charged(session: Session, account_id: str, start: int, end: int) -> tuple[int, bool]:
    used, complete = usage_view.totals(session, account_id, start=start, end=max(start, end))
    return sum(each.charge for each in used.values()), complete


def _first(session: Session, where: dict[str, Any], balance: int) -> tuple[list[Line], bool]:
    lines = []
    rows = session.connection().execute(_PAGE, {**where, "rows": ROWS + 1}).all()
    for at, id, amount, kind, reason in rows[:ROWS]:
        balance += amount
        lines.append(Line(at, kind, id, amount, balance, reason))
    return lines, len(rows) > ROWS


_OTHER_LATER: Final = text("""SELECT COALESCE(SUM(amount), 0) FROM entry
    WHERE account_id = :account_id AND leg = 0 AND kind <> 'charge' AND at >= :end""")
_OTHER: Final = text("""SELECT kind, SUM(amount) FROM entry
    WHERE account_id = :account_id AND leg = 0 AND kind <> 'charge' AND at >= :start AND at < :end GROUP BY kind ORDER BY kind""")
_PAGE: Final = text("""SELECT at, transaction_id, amount, kind, reason FROM entry
    WHERE account_id = :account_id AND leg = 0 AND at >= :start AND at < :end ORDER BY at, transaction_id LIMIT :rows""")
