"""One row per generation: when, where, how long and how much, never what. Written in the transaction that ends its hold."""

from typing import Any, Final

import msgspec
from sqlalchemy import text
from sqlmodel import Session

from metering.batch import Column
from metering.price import Cost, Price
from metering.tables import Generation, PriceVersion
from metering.usage import Usage


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of a generation; the ledger adds `held`, `charge` and `shortfall`."""

    id: str
    account_id: str
    key_id: str
    created_at: int
    model: str
    provider: str | None
    endpoint: str | None
    price_id: str | None
    api_type: str
    streamed: bool
    outcome: str
    finish_reason: str | None
    native_finish_reason: str | None
    error_type: str | None
    upstream_id: str | None
    usage_source: str | None
    held: int
    first_byte_ms: int | None
    duration_ms: int
    attempts: list[Any]
    origin: str | None
    title: str | None
    own_key_id: str | None = None


NOTHING_BUT_BILLING: Final[dict[str, Column]] = {
    **dict.fromkeys(("finish_reason", "native_finish_reason", "error_type", "upstream_id", "first_byte_ms", "origin", "title")),
    "duration_ms": 0,
    "attempts": "[]",
}
"""What goes over a row of which only billing is to know: when, what was used where at which price, and how it ended in one word, stay."""


def row(record: Record, usage: Usage, cost: Cost) -> dict[str, Column]:
    """The columns of table `generation`."""
    return {
        **msgspec.structs.asdict(record),
        "streamed": int(record.streamed),
        "attempts": msgspec.json.encode(record.attempts).decode(),
        **msgspec.structs.asdict(usage),
        "total_pico": cost.total_pico,
        "remainder": cost.remainder,
        "charge": 0,
        "shortfall": 0,
    }


def find(session: Session, id: str, account_id: str) -> tuple[Generation, Price | None] | None:
    """An account's own generation and the price it was admitted at; None also for somebody else's."""
    generation = session.get(Generation, id)
    if generation is None or generation.account_id != account_id:
        return None
    version = session.get(PriceVersion, generation.price_id) if generation.price_id else None
    return generation, msgspec.json.decode(version.rates, type=Price) if version else None


def remember_prices(session: Session, prices: dict[str, Price], now: int) -> None:
    """Adds the versions that are not there yet; existing ones never change."""
    rows = [{"id": id, "rates": price.encoded.decode(), "now": now} for id, price in prices.items()]
    if rows:
        session.connection().execute(_REMEMBER, rows)


_REMEMBER = text("INSERT INTO price_version (id, rates, created_at) VALUES (:id, :rates, :now) ON CONFLICT (id) DO NOTHING")
