"""What is remembered of answered requests, in pages: enough to ask what another route would have cost, and nothing of what was said."""

from collections.abc import AsyncGenerator
from typing import Any, Final

import msgspec
from sqlalchemy import text
from sqlmodel import Session

from metering.database import Database
from metering.price import UNITS
from metering.usage import Usage

PAGE: Final = 1000


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """One generation. `answered`: there was something to charge for. `charge` and `shortfall` (what the house paid) are nano-USD."""

    id: str
    model: str
    provider: str | None
    endpoint: str | None
    streamed: bool
    answered: bool
    usage: Usage
    charge: int
    shortfall: int
    first_byte_ms: int | None


async def pages(database: Database, account_id: str | None, *, start: int, end: int) -> AsyncGenerator[list[Recorded], None]:
    """An account's generations that began at start <= moment < end (Unix ms), in time order; None = every account's, one after another.

    Each page is a short read of its own on an index, so that neither memory nor a transaction grows with the period.
    """
    if account_id is not None:
        async for page in _of_account(database, account_id, start, end):
            yield page
        return
    last = ""
    while ids := await database.read(_accounts, last):
        for id in ids:
            async for page in _of_account(database, id, start, end):
                yield page
        last = ids[-1]


async def _of_account(database: Database, account_id: str, start: int, end: int) -> AsyncGenerator[list[Recorded], None]:
    cursor: dict[str, Any] = {"account_id": account_id, "at": start, "id": "", "end": end, "page": PAGE}
    while rows := await database.read(_rows, cursor):
        yield [_recorded(row) for row in rows]
        if len(rows) < PAGE:
            return
        cursor = {**cursor, "at": rows[-1].created_at, "id": rows[-1].id}


def _accounts(session: Session, after: str) -> list[str]:
    return list(session.connection().execute(_ACCOUNTS, {"after": after, "page": PAGE}).scalars())


def _rows(session: Session, cursor: dict[str, Any]) -> list[Any]:
    return list(session.connection().execute(_ROWS, cursor).all())


def _recorded(row: Any) -> Recorded:
    return Recorded(
        id=row.id,
        model=row.model,
        provider=row.provider,
        endpoint=row.endpoint,
        streamed=bool(row.streamed),
        answered=row.endpoint is not None and row.usage_source is not None,
        usage=Usage(**{unit: getattr(row, unit) for unit in UNITS}),
        charge=row.charge,
        shortfall=row.shortfall,
        first_byte_ms=row.first_byte_ms,
    )


_ACCOUNTS: Final = text("SELECT id FROM account WHERE kind = 'prepaid' AND id > :after ORDER BY id LIMIT :page")
_ROWS: Final = text(f"""SELECT id, created_at, model, provider, endpoint, streamed, usage_source, charge, shortfall, first_byte_ms,
    {", ".join(UNITS)} FROM generation
    WHERE account_id = :account_id AND created_at >= :at AND created_at < :end AND (created_at > :at OR id > :id)
    ORDER BY created_at, id LIMIT :page""")  # noqa: S608 - our own column names
