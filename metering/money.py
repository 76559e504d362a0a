"""Amounts of money as integers: nano-USD for amounts, pico-USD per unit for rates, and nothing else.

int64 nano-USD holds +-9.22 billion USD; a rate of 1 USD per million tokens is 1,000,000 pico-USD per token, so every price with up
to six decimals per million tokens is exact. Prices and amounts enter and leave as decimal text.
"""

import time
from decimal import Context, Decimal, Inexact, InvalidOperation

import msgspec

NANO_PER_USD = 10**9
PICO_PER_USD = 10**12
PICO_PER_NANO = 1000
AMOUNT_MAX = 9_000_000 * NANO_PER_USD
"""The largest single amount accepted anywhere, in nano-USD: far below int64, far above any prepaid balance."""

_EXACT = Context(prec=64, traps=[InvalidOperation, Inexact])
"""Decimal's own context would round a long number to 28 digits without a word. A number beyond all bounds is inexact too."""


def now_ms() -> int:
    """Unix time in milliseconds, the unit of every time column."""
    return time.time_ns() // 1_000_000


def parse_usd(text: str) -> int:
    """Decimal text in USD -> nano-USD. ValueError if it is not a number, finer than a nano-dollar or beyond `AMOUNT_MAX`."""
    nano = _exact(text, NANO_PER_USD, "a nano-dollar (9 decimals)")
    if abs(nano) > AMOUNT_MAX:
        raise ValueError(f"{text!r} is beyond {format_usd(AMOUNT_MAX)} USD")
    return nano


def parse_rate(usd_per_million: str) -> int:
    """Decimal text in USD per million units -> pico-USD per unit. ValueError if negative or not exact in pico-USD."""
    return _rate(usd_per_million, PICO_PER_USD // 10**6, "6 decimals per million")


def parse_rate_each(usd: str) -> int:
    """Decimal text in USD per single unit (a request) -> pico-USD per unit. ValueError if negative or not exact in pico-USD."""
    return _rate(usd, PICO_PER_USD, "12 decimals")


def format_usd(nano: int) -> str:
    """Nano-USD -> decimal text in USD with every digit that counts and no exponent: 262650 -> '0.00026265'."""
    return _decimal_text(nano, 9)


def format_rate(pico: int) -> str:
    """Pico-USD per unit -> decimal text in USD per unit, as `GET models` prints prices: 150000 -> '0.00000015'."""
    return _decimal_text(pico, 12)


def json_usd(nano: int) -> msgspec.Raw:
    """Nano-USD -> a JSON number with all its digits, for the OpenAI- and OpenRouter-shaped routes."""
    return msgspec.Raw(_decimal_text(nano, 9).encode())


def _rate(text: str, scale: int, precision: str) -> int:
    pico = _exact(text, scale, precision)
    if pico < 0:
        raise ValueError(f"{text!r} is negative; a price is zero or more")
    return pico


def _exact(text: str, scale: int, precision: str) -> int:
    try:
        scaled = _EXACT.multiply(Decimal(text), Decimal(scale))
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a decimal number") from None
    except Inexact:
        raise ValueError(f"{text!r} is not a usable amount, or finer than {precision}") from None
    if not scaled.is_finite() or abs(scaled) > 2**62:
        raise ValueError(f"{text!r} is not a usable amount")
    if scaled != scaled.to_integral_value():
        raise ValueError(f"{text!r} is finer than {precision}")
    return int(scaled)


def _decimal_text(units: int, decimals: int) -> str:
    sign, digits = ("-" if units < 0 else ""), str(abs(units)).rjust(decimals + 1, "0")
    whole, fraction = digits[:-decimals], digits[-decimals:].rstrip("0")
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"
