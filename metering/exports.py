"""An account's usage as rows, one per generation or one per UTC day, in pages that neither memory nor a transaction grows with.

A charge belongs to the moment of its ledger entry, so that the rows of a period add up to the ledger's charges of that period (I12);
a generation that cost nothing has no entry and belongs to the moment it began. Every entry is a row once, with or without its
generation; every generation without an entry is a row once. A period that is not over yet is shown as far as it is written.
"""

import heapq
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from operator import itemgetter
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import text
from sqlmodel import Session

from metering import daily
from metering.database import Database
from metering.price import UNITS

PAGE: Final = 1000
_NEVER: Final = 2**62

Kind = Literal["text", "user text", "moment", "date", "count", "flag", "usd"]
Row = tuple[Any, ...]
"""Values in the order of the columns: nano-USD for `usd`, Unix milliseconds for `moment`, 0 or 1 for `flag`; None = not known."""


class Column(msgspec.Struct, frozen=True):
    """`user text` is what an account's people wrote themselves: a spreadsheet must not take it for a formula."""

    name: str
    kind: Kind


class KeyFacts(msgspec.Struct, frozen=True):
    """What is known of an API key besides its id."""

    name: str | None = None
    project_id: str | None = None
    member_id: str | None = None


KeysNamed = Callable[[Session, set[str]], Mapping[str, KeyFacts]]
"""The facts of these keys, at most `PAGE` of them; one that does not exist is left out."""

_KEY: Final = (Column("key_id", "text"), Column("key_name", "user text"), Column("project_id", "text"), Column("member_id", "text"))
_COUNTED: Final = tuple(Column(unit, "count") for unit in UNITS)

GENERATION_COLUMNS: Final = (
    Column("id", "text"),
    Column("created_at", "moment"),
    Column("charged_at", "moment"),
    Column("account_id", "text"),
    *_KEY,
    *(Column(name, "text") for name in ("model", "provider", "endpoint", "api_type")),
    Column("streamed", "flag"),
    *(Column(name, "text") for name in ("outcome", "finish_reason", "error_type")),
    *_COUNTED,
    Column("usage_source", "text"),
    Column("price_id", "text"),
    *(Column(name, "usd") for name in ("charge_usd", "held_usd", "shortfall_usd")),
    Column("remainder_pico", "count"),
    Column("first_byte_ms", "count"),
    Column("duration_ms", "count"),
    Column("origin", "user text"),
    Column("title", "user text"),
    Column("own_key_id", "text"),
)
DAY_COLUMNS: Final = (
    Column("date", "date"),
    Column("account_id", "text"),
    Column("model", "text"),
    Column("provider", "text"),
    *_KEY,
    Column("requests", "count"),
    *_COUNTED,
    Column("charge_usd", "usd"),
    Column("shortfall_usd", "usd"),
)

_BEFORE_CHARGE: Final = ("model", "provider", "endpoint", "api_type", "streamed", "outcome", "finish_reason", "error_type", *UNITS,
                         "usage_source", "price_id")  # fmt: skip
_AFTER_CHARGE: Final = ("held", "shortfall", "remainder", "first_byte_ms", "duration_ms", "origin", "title", "own_key_id")
_STORED: Final = ", ".join(f"g.{name}" for name in ("created_at", "key_id", *_BEFORE_CHARGE, *_AFTER_CHARGE))

_CHARGED: Final = text(f"""SELECT e.at, e.transaction_id, e.kind = 'charge', -e.amount, {_STORED}
    FROM entry e LEFT JOIN generation g ON g.id = e.transaction_id
    WHERE e.account_id = :account_id AND e.leg = 0 AND e.at >= :at AND e.at < :end AND (e.at > :at OR e.transaction_id > :id)
    ORDER BY e.at, e.transaction_id LIMIT :page""")  # noqa: S608 - our own column names
_FREE: Final = text(f"""SELECT k.created_at, k.id, g.id IS NOT NULL, 0, {_STORED}
    FROM (SELECT created_at, id FROM generation
        WHERE account_id = :account_id AND created_at >= :at AND created_at < :end AND (created_at > :at OR id > :id)
        ORDER BY created_at, id LIMIT :page) k
    LEFT JOIN generation g ON g.id = k.id AND NOT EXISTS (SELECT 1 FROM entry e WHERE e.transaction_id = k.id AND e.leg = 0)
    ORDER BY k.created_at, k.id""")  # noqa: S608
"""Both read the next `PAGE` rows of an index, wanted or not, so that no page takes longer than another; the third column says which."""


async def generations(
    database: Database, account_id: str, *, start: int, end: int, keys_named: KeysNamed
) -> AsyncGenerator[list[Row], None]:
    """Rows of `GENERATION_COLUMNS` with start <= moment < end (Unix ms), in time order; each page is a short read of its own."""
    streams = [_Stream(_CHARGED, True, account_id, start, end), _Stream(_FREE, False, account_id, start, end)]
    while not all(stream.done for stream in streams):
        behind = min(streams, key=lambda stream: stream.known_until)
        await database.read(behind.advance, keys_named)
        safe = min(stream.known_until for stream in streams)
        page = [row for _, row in heapq.merge(*(stream.take(safe) for stream in streams), key=itemgetter(0))]
        if page:
            yield page


async def days(database: Database, account_id: str, *, start: int, end: int, keys_named: KeysNamed) -> AsyncGenerator[list[Row], None]:
    """Rows of `DAY_COLUMNS`, one per UTC day, model, provider and key; a day that is cut by `start` or `end` has what lies between."""
    async with aclosing(daily.sums(database, account_id, start=start, end=end, group=("model", "provider", "key_id"))) as found:
        async for day, groups in found:
            facts = await database.read(_in_pages, {key_id for _, _, key_id in groups if key_id}, keys_named)
            yield [
                (day, account_id, model, provider, *_key(key_id, facts), sums.requests, *sums.units, sums.charge, sums.shortfall)
                for (model, provider, key_id), sums in groups.items()
            ]


class _Stream:
    """One of the two sources of rows. `take` hands over only what nothing unread can precede; at most one page waits here."""

    def __init__(self, query: Any, charged: bool, account_id: str, start: int, end: int) -> None:
        self._query, self._charged = query, charged
        self._account_id = account_id
        self._cursor: dict[str, str | int] = {"account_id": account_id, "at": start, "id": "", "end": end, "page": PAGE}
        self._waiting: list[tuple[int, Row]] = []
        self.known_until = start - 1

    @property
    def done(self) -> bool:
        return self.known_until == _NEVER

    def advance(self, session: Session, keys_named: KeysNamed) -> None:
        found = session.connection().execute(self._query, self._cursor).all()
        wanted = [raw for raw in found if raw[2]]
        facts = keys_named(session, {raw[5] for raw in wanted if raw[5]})
        self._waiting += [(raw[0], _row(raw, self._charged, self._account_id, facts)) for raw in wanted]
        if len(found) < PAGE:
            self.known_until = _NEVER
        else:
            self.known_until = found[-1][0]
            self._cursor |= {"at": found[-1][0], "id": found[-1][1]}

    def take(self, until: int) -> list[tuple[int, Row]]:
        ready = [each for each in self._waiting if each[0] <= until]
        self._waiting = self._waiting[len(ready) :]
        return ready


def _row(raw: Any, charged: bool, account_id: str, facts: Mapping[str, KeyFacts]) -> Row:
    moment, id, _, charge, created_at, key_id, *stored = raw
    at = len(_BEFORE_CHARGE)
    return (id, created_at, moment if charged else None, account_id, *_key(key_id, facts), *stored[:at], charge, *stored[at:])


def _key(key_id: str | None, facts: Mapping[str, KeyFacts]) -> Row:
    found = facts.get(key_id or "", _UNKNOWN)
    return key_id, found.name, found.project_id, found.member_id


def _in_pages(session: Session, ids: set[str], keys_named: KeysNamed) -> dict[str, KeyFacts]:
    ordered = sorted(ids)
    facts: dict[str, KeyFacts] = {}
    for first in range(0, len(ordered), PAGE):
        facts.update(keys_named(session, set(ordered[first : first + PAGE])))
    return facts


_UNKNOWN: Final = KeyFacts()
