"""An account's statement: opening balance, every entry with the balance after it, closing balance.

Opening + sum of entries = closing by construction, and the closing balance of a period that is over is the opening one of the next,
because both are nothing but sums of entries and entries are only ever added. Pages and sums are short reads of their own.
"""

from collections.abc import AsyncGenerator
from typing import Any, Final

import msgspec
from sqlalchemy import text
from sqlmodel import Session

from metering.database import Database
from metering.errors import UnknownAccount
from metering.tables import Account

PAGE: Final = 1000
SUM_ROWS: Final = 50_000
"""About as many entries are added up in one read on the way to an opening balance."""


class Line(msgspec.Struct, frozen=True):
    """`kind` is an entry's, or `opening` (at = start) or `closing` (at = end), which have no entry; amounts are nano-USD."""

    at: int
    kind: str
    id: str | None
    amount: int | None
    balance: int
    reason: str | None


async def lines(database: Database, account_id: str, *, start: int, end: int) -> AsyncGenerator[list[Line], None]:
    """Pages of lines with start <= at < end (Unix ms), in the order of the ledger. UnknownAccount if there is no such balance."""
    await database.read(check_account, account_id)
    balance = await _opening(database, account_id, start)
    yield [Line(start, "opening", None, None, balance, None)]
    cursor = {"account_id": account_id, "at": start, "id": "", "leg": -1, "end": end}
    while rows := await database.read(_page, cursor):
        page = []
        for at, id, _, amount, kind, reason in rows:
            balance += amount
            page.append(Line(at, kind, id, amount, balance, reason))
        yield page
        cursor = {**cursor, "at": rows[-1][0], "id": rows[-1][1], "leg": rows[-1][2]}
    yield [Line(end, "closing", None, None, balance, None)]


def check_account(session: Session, account_id: str) -> None:
    """UnknownAccount unless it is an account with a balance; a key's limit is none."""
    account = session.get(Account, account_id)
    if account is None or account.kind != "prepaid":
        raise UnknownAccount(f"there is no account {account_id}")


async def _opening(database: Database, account_id: str, start: int) -> int:
    balance, at = 0, -(2**62)
    while at < start:
        added, at = await database.read(_sum, account_id, at, start)
        balance += added
    return balance


def _sum(session: Session, account_id: str, start: int, end: int) -> tuple[int, int]:
    """The sum of the next entries before `end`, and the moment up to which it goes."""
    connection = session.connection()
    window = {"account_id": account_id, "start": start, "end": end}
    cut = connection.execute(_CUT, {**window, "rows": SUM_ROWS}).scalar()
    until = end if cut is None else max(cut, start + 1)
    return int(connection.execute(_SUM, {**window, "end": until}).scalar_one()), until


def _page(session: Session, cursor: dict[str, Any]) -> list[Any]:
    return list(session.connection().execute(_PAGE, {**cursor, "page": PAGE}).all())


_CUT: Final = text("""SELECT at FROM entry WHERE account_id = :account_id AND at >= :start AND at < :end
    ORDER BY at LIMIT 1 OFFSET :rows""")
_SUM: Final = text("SELECT COALESCE(SUM(amount), 0) FROM entry WHERE account_id = :account_id AND at >= :start AND at < :end")
_PAGE: Final = text("""SELECT at, transaction_id, leg, amount, kind, reason FROM entry
    WHERE account_id = :account_id AND at >= :at AND at < :end
    AND (at > :at OR transaction_id > :id OR (transaction_id = :id AND leg > :leg))
    ORDER BY at, transaction_id, leg LIMIT :page""")
