"""The invoice of a paid credit: one for each, numbered without gaps within its account, the same whenever it is asked for.

Credits are only ever added, and never before one that is there: the n-th paid credit of an account has number n for ever.
"""

import msgspec
from sqlalchemy import text
from sqlmodel import Session

from metering.tables import Credit


class Invoice(msgspec.Struct, frozen=True):
    """`amount` in nano-USD, `at` the moment of the deposit in Unix ms; `number` counts from 1 within the account."""

    id: str
    number: int
    amount: int
    at: int


def find(session: Session, account_id: str, credit_id: str) -> Invoice | None:
    """None if the account has no such paid credit: what was given away is not invoiced."""
    row = session.get(Credit, credit_id)
    if row is None or row.account_id != account_id or row.kind != "paid":
        return None
    number = session.connection().execute(_NUMBER, {"account_id": account_id, "at": row.created_at, "id": credit_id}).scalar_one()
    return Invoice(row.id, int(number), row.amount, row.created_at)


_NUMBER = text("""SELECT COUNT(*) FROM credit WHERE account_id = :account_id AND kind = 'paid'
    AND (created_at < :at OR (created_at = :at AND id <= :id))""")
