"""An account's statement as a file: every entry with the balance after it, between its opening and its closing balance."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from gateway.export_formats import encoded
from metering import statement
from metering.database import Database
from metering.exports import Column, Row

COLUMNS: Final = (
    Column("at", "moment"), Column("kind", "text"), Column("id", "text"), Column("amount_usd", "usd"), Column("balance_usd", "usd"),
    Column("reason", "user text"),
)  # fmt: skip


def statement_export(database: Database, account_id: str, *, start: int, end: int, format: str) -> AsyncGenerator[bytes, None]:
    """The chunks of the file in one of `export_formats.MEDIA_TYPES`, the entries with start <= at < end (Unix ms). UnknownAccount."""
    return encoded(_rows(database, account_id, start, end), format, COLUMNS)


async def _rows(database: Database, account_id: str, start: int, end: int) -> AsyncGenerator[list[Row], None]:
    async with aclosing(statement.lines(database, account_id, start=start, end=end)) as pages:
        async for page in pages:
            yield [(line.at, line.kind, line.id, line.amount, line.balance, line.reason) for line in page]
