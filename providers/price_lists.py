"""Reads published price lists: LiteLLM's JSON file and the answer of OpenRouter's `GET /models`.

Numbers are taken as they are written, never through a float. Where a list raises a price with the length of the prompt, the context ends
there; where it names several prices for the same tokens, the dearest counts: nothing is charged too little.
"""

import datetime
import json
from collections.abc import Callable, Iterator
from decimal import Decimal, DecimalException
from pathlib import Path
from typing import Any, Final

from providers import price_list_litellm, price_list_openrouter
from providers.price_offer import Offer, Skipped, Unusable

BYTES_MAX: Final = 64 * 1024 * 1024
ROWS_MAX: Final = 100_000
Read = Iterator[Offer | Skipped]


def read(path: Path, kind: str, today: datetime.date) -> tuple[list[Offer], list[Skipped]]:
    """The usable rows of a list of this `kind`, each upstream model of a provider once, and the others. ValueError for a useless file."""
    offers: dict[tuple[str, str], Offer] = {}
    skipped: list[Skipped] = []
    for row in READERS[kind](_json(path), today):
        if isinstance(row, Skipped):
            skipped.append(row)
        elif (first := offers.setdefault((row.provider, row.upstream_model), row)) is not row:
            skipped.append(Skipped(row.name, row.provider, f"it is the model of {first.name}, which stands before it", elsewhere=True))
    return list(offers.values()), skipped


def _json(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            raw = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise ValueError(f"{path.name}: cannot be read ({error.strerror}); name a JSON file that exists and is readable") from None
    if len(raw) > BYTES_MAX:
        raise ValueError(f"{path.name}: is larger than {BYTES_MAX // 1024**2} MiB; a price list is smaller")
    try:
        return json.loads(raw, parse_float=_number)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name}: is not a JSON document ({type(error).__name__}); download it again") from None


def _number(text: str) -> Decimal | str:
    """As it is written; one of more than decimals can hold stays a text, which is no price."""
    try:
        return Decimal(text)
    except DecimalException:
        return text[:40]


def _litellm(data: Any, today: datetime.date) -> Read:
    if not isinstance(data, dict) or len(data) > ROWS_MAX:
        raise ValueError("the file is no price list of LiteLLM: write an object with one row per model")
    for name, row in data.items():
        if name != "sample_spec":
            yield _row(name, row, price_list_litellm.slug_of(row), lambda name, row: price_list_litellm.offer_of(name, row, today))


def _openrouter(data: Any, today: datetime.date) -> Read:
    rows = data.get("data") if isinstance(data, dict) else None
    if not isinstance(rows, list) or len(rows) > ROWS_MAX:
        raise ValueError('the file is no answer of OpenRouter\'s GET /models: write {"data": [...]}')
    for row in rows:
        name = row.get("id") if isinstance(row, dict) else None
        name = name if isinstance(name, str) else "?"
        yield _row(name, row, price_list_openrouter.SLUG, lambda name, row: price_list_openrouter.offer_of(name, row, today))


READERS: Final[dict[str, Callable[[Any, datetime.date], Read]]] = {"litellm": _litellm, "openrouter": _openrouter}


def _row(name: str, row: Any, provider: str, offer: Callable[[str, dict[str, Any]], Offer | Skipped]) -> Offer | Skipped:
    name = "".join(each for each in name if each.isprintable())[:200]
    if not isinstance(row, dict):
        return Skipped(name, provider, "it is not an object")
    try:
        return offer(name, row)
    except Unusable as error:
        return Skipped(name, provider, str(error))
