"""What requests over customers' own provider keys would have cost at list price, which is what those providers bill them for.

Requests of one price cost together what their units cost together, so the database adds up units and the rates come last. Requests
that were not answered used nothing and are left out.
"""

from collections.abc import Collection, Sequence
from typing import Final

import msgspec
from sqlalchemy import bindparam, text
from sqlmodel import Session, col, select

from metering.money import PICO_PER_NANO
from metering.price import UNITS, Price, listed
from metering.tables import PriceVersion


def by_key(session: Session, key_ids: Collection[str], starts: Sequence[int]) -> dict[str, list[int]]:
    """Nano-USD since each of `starts` (Unix ms) per API key, rounded down once; a key without any is left out.

    `key_ids` are at most a page of keys.
    """
    ascending = sorted(starts)
    cases = {f"start_{i}": start for i, start in enumerate(ascending)}
    started = " + ".join(f"CASE WHEN created_at >= :{name} THEN 1 ELSE 0 END" for name in cases)
    sums = text(_SUMS.format(started=started)).bindparams(bindparam("key_ids", expanding=True))
    rows = session.connection().execute(sums, {"key_ids": sorted(key_ids), **cases}).all()
    rates = prices(session, {row[1] for row in rows})
    pico: dict[str, list[int]] = {}
    for key_id, price_id, begun, requests, *units in rows:
        amount = listed(map(int, units), requests, rates[price_id])
        sums_of_key = pico.setdefault(key_id, [0] * len(starts))
        for i, start in enumerate(starts):
            sums_of_key[i] += amount if begun > ascending.index(start) else 0
    return {key_id: [amount // PICO_PER_NANO for amount in amounts] for key_id, amounts in pico.items()}


def prices(session: Session, ids: Collection[str]) -> dict[str, Price]:
    """The prices of these versions, at most as many as a catalog has."""
    found = select(PriceVersion).where(col(PriceVersion.id).in_(sorted(ids)))
    return {version.id: msgspec.json.decode(version.rates, type=Price) for version in session.exec(found)} if ids else {}


_ADDED: Final = ", ".join(f"SUM({unit})" for unit in UNITS)
_SUMS: Final = f"""SELECT key_id, price_id, {{started}}, COUNT(*), {_ADDED} FROM generation
    WHERE own_key_id IS NOT NULL AND usage_source IS NOT NULL AND price_id IS NOT NULL AND key_id IN :key_ids
    GROUP BY 1, 2, 3"""  # noqa: S608 - our own column names
"""The third column says how many of the starts, in ascending order, had passed when the generation began."""
