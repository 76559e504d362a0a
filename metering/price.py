"""What a generation costs: rates per unit, the exact sum, and the only rounding in the product.

A price is frozen into the generation at admission under its `id` (a hash of its rates), so any charge can be recomputed later.
Where a customer's own key pays the provider, only a share of the list price is charged: the same rates, and the share applied to their
sum, last.
"""

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec

from metering.money import PICO_PER_NANO
from metering.usage import COMPLETION_UNITS, COUNT_MAX, PROMPT_UNITS, Usage

UNITS: Final = (*PROMPT_UNITS, *COMPLETION_UNITS)

WHOLE_BPS: Final = 10_000
"""The whole in basis points, of which a percent has a hundred."""

FALLBACK: Final = {"cached_prompt": "prompt", "image": "prompt", "reasoning": "completion"}
"""Units that cost what another unit costs when they have no rate of their own. Any other absent rate blocks the endpoint."""


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """Rates in pico-USD per token, `request` in pico-USD each; None = not priced. `share_bps` of their sum is charged."""

    prompt: int | None = None
    completion: int | None = None
    cached_prompt: int | None = None
    cache_write: int | None = None
    image: int | None = None
    audio: int | None = None
    reasoning: int | None = None
    audio_completion: int | None = None
    request: int = 0
    share_bps: int = WHOLE_BPS

    def rate(self, unit: str) -> int | None:
        """Pico-USD for one `unit`, by the fallback rule; None = unpriced = blocked, never free."""
        own: int | None = getattr(self, unit)
        return getattr(self, FALLBACK[unit]) if own is None and unit in FALLBACK else own

    def shared(self, share_bps: int) -> "Price":
        """The price of this share of what this one charges."""
        return msgspec.structs.replace(self, share_bps=share_bps)

    @property
    def encoded(self) -> bytes:
        """JSON, as it is stored and hashed; a share that is the whole is left out, as it was before there were shares."""
        fields = msgspec.structs.asdict(self)
        if self.share_bps == WHOLE_BPS:
            del fields["share_bps"]
        return msgspec.json.encode(fields)

    @property
    def id(self) -> str:
        """The version id: equal rates have equal ids, on every machine."""
        return "price_" + hashlib.sha256(self.encoded).hexdigest()[:24]


class Line(msgspec.Struct, frozen=True):
    """One line of the arithmetic: units x rate_pico = total_pico."""

    unit: str
    units: int
    rate_pico: int
    total_pico: int


class Cost(msgspec.Struct, frozen=True):
    """`charge` in nano-USD = floor(total_pico / 1000); `remainder` is the 0..999 pico-USD given away by the floor.

    `lines` add up to the list price, of which `total_pico` is the price's share.
    """

    total_pico: int
    charge: int
    remainder: int
    lines: tuple[Line, ...]

    @property
    def listed(self) -> int:
        """The list price in nano-USD, rounded down."""
        return sum(line.total_pico for line in self.lines) // PICO_PER_NANO


def cost(usage: Usage, price: Price) -> Cost:
    """The exact cost of `usage`, rounded down once. ValueError if a used unit has no rate (such an endpoint is never offered)."""
    lines = [_line(unit, units, price) for unit in UNITS if (units := getattr(usage, unit))]
    if price.request:
        lines.append(Line("request", 1, price.request, price.request))
    total_pico = sum(line.total_pico for line in lines) * price.share_bps // WHOLE_BPS
    return Cost(total_pico, *divmod(total_pico, PICO_PER_NANO), tuple(lines))


def listed(units: Iterable[int], requests: int, price: Price) -> int:
    """The list price of many requests together, in pico-USD: `units` in the order of `UNITS`; what has no rate adds nothing."""
    return requests * price.request + sum(count * (price.rate(unit) or 0) for unit, count in zip(UNITS, units, strict=True))


def ceiling(price: Price, *, prompt_tokens: int, completion_tokens: int, extras: frozenset[str] = frozenset()) -> int:
    """The most that so many tokens can cost, in nano-USD rounded up: every token at the dearest rate it could be billed at.

    `extras` are the units beyond plain text that the request would really use (`cache_write`, `image`, `audio`, `audio_completion`).
    """
    prompt = prompt_tokens * _dearest(price, ("prompt", "cached_prompt"), PROMPT_UNITS, extras)
    completion = completion_tokens * _dearest(price, ("completion", "reasoning"), COMPLETION_UNITS, extras)
    return -(-(prompt + completion + price.request) * price.share_bps // (PICO_PER_NANO * WHOLE_BPS))


def affordable_tokens(price: Price, *, prompt_tokens: int, amount: int, extras: frozenset[str] = frozenset()) -> int:
    """How many completion tokens `amount` nano-USD can pay for after the prompt; negative = not even the prompt."""
    left = (amount - ceiling(price, prompt_tokens=prompt_tokens, completion_tokens=0, extras=extras)) * PICO_PER_NANO * WHOLE_BPS
    rate = _dearest(price, ("completion", "reasoning"), COMPLETION_UNITS, extras) * price.share_bps
    if left < 0:
        return -1
    return left // rate if rate else COUNT_MAX


def unpriced(price: Price, extras: frozenset[str]) -> list[str]:
    """The units that the request would use and this price has no rate for, in the order of `UNITS`."""
    return [unit for unit in UNITS if (unit in ("prompt", "completion") or unit in extras) and price.rate(unit) is None]


def payable(usage: Usage, price: Price) -> Usage:
    """Units that turn up although the request did not ask for them and the price does not know them count as plain tokens."""
    strange = {unit: 0 for unit in unpriced(price, frozenset(UNITS)) if getattr(usage, unit)}
    if not strange:
        return usage
    plain = {
        "prompt": usage.prompt + sum(getattr(usage, unit) for unit in strange if unit in PROMPT_UNITS),
        "completion": usage.completion + sum(getattr(usage, unit) for unit in strange if unit in COMPLETION_UNITS),
    }
    return msgspec.structs.replace(usage, **{**strange, **plain})


def _dearest(price: Price, plain: tuple[str, ...], units: tuple[str, ...], extras: frozenset[str]) -> int:
    return max(price.rate(unit) or 0 for unit in units if unit in plain or unit in extras)


def _line(unit: str, units: int, price: Price) -> Line:
    rate = price.rate(unit)
    if rate is None:
        raise ValueError(f"{units} {unit} tokens were used, but the price has no rate for {unit}")
    return Line(unit, units, rate, units * rate)
