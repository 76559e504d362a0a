"""An account's usage export, the same for the command line and for HTTP: what can be asked for, and the bytes that answer."""

from collections.abc import AsyncGenerator
from typing import Final

from gateway.export_formats import MEDIA_TYPES, encoded
from metering import exports
from metering.database import Database
from policy import key_facts

FORMATS: Final = tuple(MEDIA_TYPES)
BY: Final = {"generation": (exports.generations, exports.GENERATION_COLUMNS), "day": (exports.days, exports.DAY_COLUMNS)}


def usage_export(database: Database, account_id: str, *, start: int, end: int, format: str, by: str) -> AsyncGenerator[bytes, None]:
    """The chunks of the file, of one of `FORMATS`, one row per `by`. Memory and each read stay small however long the period."""
    rows, columns = BY[by]
    pages = rows(database, account_id, start=start, end=end, keys_named=key_facts.named)
    return encoded(pages, format, columns)
