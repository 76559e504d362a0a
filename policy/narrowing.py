"""Puts two sets of preferences together so that the result is never wider than either in privacy, price and who may be used.

`only` and `region` are intersected, `ignore` united, `zdr` or-ed, "deny" wins, and of two prices the smaller counts. What is a matter
of taste is the first one's where it says something: `order` and `sort` together (an order of the one would make the other's sort
meaningless), every other field by itself.
"""

from decimal import Decimal
from typing import Any

import msgspec

from policy.errors import InvalidPreferences
from policy.preferences import NOTHING, PRICE_UNITS, MaxPrice, Preferences, covers

Names = tuple[str, ...] | None


def narrowed(first: Preferences, second: Preferences) -> Preferences:
    """`first` is who is closer to the request: its taste wins; neither can widen what the other narrows."""
    if second is NOTHING:
        return first
    if first is NOTHING:
        return second
    arranged = first if first.order is not None or first.sort is not None else second
    return Preferences(
        order=arranged.order,
        only=both(first.only, second.only),
        ignore=either(first.ignore, second.ignore),
        allow_fallbacks=_said(first.allow_fallbacks, second.allow_fallbacks),
        require_parameters=_said(first.require_parameters, second.require_parameters),
        data_collection="deny" if "deny" in (first.data_collection, second.data_collection) else None,
        zdr=first.zdr or second.zdr,
        quantizations=first.quantizations if first.quantizations is not None else second.quantizations,
        sort=arranged.sort,
        max_price=lower(first.max_price, second.max_price),
        preferred_min_throughput=first.preferred_min_throughput or second.preferred_min_throughput,
        preferred_max_latency=first.preferred_max_latency or second.preferred_max_latency,
        region=_shared(first.region, second.region),
    )


def both(first: Names, second: Names) -> Names:
    """The slugs that name exactly what both name; () if that is nothing. None = everything."""
    if first is None or second is None:
        return second if first is None else first
    inner = [slug for slug in first if any(covers(other, slug) for other in second)]
    inner += [slug for slug in second if slug not in inner and any(covers(other, slug) for other in first)]
    return tuple(inner)


def either(first: Names, second: Names) -> Names:
    """The slugs that one of them names. None = nothing."""
    return tuple(dict.fromkeys((*(first or ()), *(second or ())))) or None


def lower(first: MaxPrice | None, second: MaxPrice | None) -> MaxPrice | None:
    """Of each unit the smaller price. None = no bound."""
    if first is None or second is None:
        return second if first is None else first
    return MaxPrice(**{unit: _smaller(getattr(first, unit), getattr(second, unit)) for unit in PRICE_UNITS})


def as_request(first: Preferences, second: Preferences) -> dict[str, Any]:
    """`narrowed` as a request's `provider` object. InvalidPreferences if the two have nothing in common: no request can say that."""
    together = narrowed(first, second)
    for name in ("only", "region"):
        if getattr(together, name) == ():
            raise InvalidPreferences(f"provider.{name} has nothing in common with the preset's {name}; change one of the two.")
    raw: dict[str, Any] = {name: value for name, value in msgspec.to_builtins(together).items() if value is not None}
    if together.max_price is not None:
        prices = {unit: getattr(together.max_price, unit) for unit in PRICE_UNITS}
        raw["max_price"] = {unit: f"{Decimal(pico) / PRICE_UNITS[unit]:f}" for unit, pico in prices.items() if pico is not None}
    return raw


def _said(first: bool | None, second: bool | None) -> bool | None:
    return second if first is None else first


def _shared(first: Names, second: Names) -> Names:
    if first is None or second is None:
        return second if first is None else first
    return tuple(name for name in first if name in second)


def _smaller(first: int | None, second: int | None) -> int | None:
    if first is None or second is None:
        return second if first is None else first
    return min(first, second)
