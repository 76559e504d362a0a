"""One row of a published price list, as far as a catalog can use it, and the exact text of its rates."""

import datetime
from collections.abc import Iterable, Mapping
from decimal import ROUND_CEILING, Context, Decimal, DecimalException
from typing import Any, Final

import msgspec

LIMIT: Final = Decimal("0.001")
"""USD per token: 1,000 USD per million, above any price seen so far."""
LIMIT_EACH: Final = Decimal(100)
"""USD per request or image."""
NOISE: Final = Context(prec=12)
"""Lists are written by programs that count in floats: 3.6 comes as 3.6000000000000003. No price has so many digits of its own."""
TOKENS_MAX: Final = 10**9
FINEST: Final = Decimal("0.000001")
FINEST_EACH: Final = Decimal("0.000000000001")
PER_MILLION: Final = Decimal(10**6)


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A model at a provider: `name` is the list's, `rates` are USD per million tokens (request: each) as decimal text.

    `context_length` ends where the list's price rises. What the list does not say is None.
    """

    name: str
    provider: str
    upstream_model: str
    model: str
    title: str | None = None
    context_length: int | None
    max_output_tokens: int | None
    rates: dict[str, str]
    capabilities: tuple[str, ...]
    input_modalities: tuple[str, ...] = ("text",)
    output_modalities: tuple[str, ...] = ("text",)
    deprecated: datetime.date | None = None


class Skipped(msgspec.Struct, frozen=True):
    """`elsewhere`: nothing is wrong with the row; it is about something that no catalog row describes. `provider` is "" if it has none."""

    name: str
    provider: str
    reason: str
    elsewhere: bool = False


class Unusable(Exception):
    """A row that no endpoint can be made of; the text says why."""


def rates(prices: Mapping[str, Any], units: Mapping[str, str]) -> dict[str, str]:
    """The rates of `units` (our unit -> the list's name of it) among `prices`, USD per token. Unusable."""
    found = {unit: usd_per_token(prices[name], name) for unit, name in units.items() if prices.get(name) is not None}
    for unit in ("prompt", "completion"):
        if unit not in found:
            raise Unusable(f"it has no price ({units[unit]})")
    return {unit: per_million(rate) for unit, rate in found.items()}


def usd_per_token(value: object, name: str) -> Decimal:
    """The amount of a JSON number, or of text, as it is written. Unusable if it is none, negative, or above the limit."""
    amount = _decimal(value, name)
    if amount > LIMIT:
        raise Unusable(f"{name} is above 1000 USD per million tokens")
    return amount


def usd_each(value: object, name: str) -> str:
    """USD for one request or image, as decimal text. Unusable like `usd_per_token`."""
    amount = _decimal(value, name)
    if amount > LIMIT_EACH:
        raise Unusable(f"{name} is above {LIMIT_EACH} USD each")
    return _text(NOISE.plus(amount), FINEST_EACH)


def per_million(usd_per_token: Decimal) -> str:
    """What is finer than a catalog can say is rounded up: nothing is charged too little."""
    return _text(NOISE.multiply(usd_per_token, PER_MILLION), FINEST)


def tokens(value: object, name: str) -> int | None:
    """A count of tokens; None if the list does not say it. Unusable if it is no count, zero or less, or absurd."""
    if value is None or value == "":
        return None
    count = int(value) if isinstance(value, Decimal) and value.is_finite() and abs(value) < 2**53 and value == int(value) else value
    if not isinstance(count, int) or isinstance(count, bool):
        raise Unusable(f"{name} is not a number of tokens")
    if not 0 < count <= TOKENS_MAX:
        raise Unusable(f"{name} is {str(count)[:20]}; no model has so many")
    return count


def known(names: Iterable[str], flags: Mapping[str, bool]) -> tuple[str, ...]:
    return tuple(name for name in names if flags.get(name))


def charged(found: dict[str, str]) -> dict[str, str]:
    """Without what says nothing: reasoning that costs what an answer costs, and a cache that costs nothing, which is its storage."""
    if not any(amount != "0" for amount in found.values()):
        raise Unusable("it is free in the list; write its row by hand if that is meant")
    empty = {unit for unit in ("cached_prompt", "cache_write") if found.get(unit) == "0"}
    if found.get("reasoning") in (found["completion"], "0"):
        empty.add("reasoning")
    return {unit: amount for unit, amount in found.items() if unit not in empty and (unit != "request" or amount != "0")}


def context(stated: int | None, steps: list[int]) -> int | None:
    """The stated length, or where the price rises before. Unusable if it rises at once."""
    length = min([stated, *steps]) if stated is not None else None
    if length is not None and length <= 0:
        raise Unusable("its price rises with the first token")
    return length


def last_day(value: object) -> datetime.date | None:
    try:
        return datetime.date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _decimal(value: object, name: str) -> Decimal:
    try:
        amount = Decimal(value) if isinstance(value, str | int) and not isinstance(value, bool) else value
    except DecimalException:
        amount = None
    if not isinstance(amount, Decimal) or not amount.is_finite():
        raise Unusable(f"{name} is not a number")
    if amount < 0:
        raise Unusable(f"{name} is negative")
    return amount


def _text(amount: Decimal, finest: Decimal) -> str:
    return f"{amount.quantize(finest, rounding=ROUND_CEILING).normalize():f}"
