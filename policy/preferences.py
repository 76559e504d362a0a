"""The `provider` object of a request: which endpoints the client wants, in OpenRouter's field names; what is not understood is refused.

A field that this version does not know is an error that names it, and so are two fields that cannot both be meant: a preference is
honoured or refused, never silently ignored. None in a field means that nothing was said about it.
"""

import re
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, get_args

import msgspec

from metering.money import PICO_PER_USD
from policy.errors import InvalidPreferences

PER_MILLION: Final = PICO_PER_USD // 10**6
PRICE_UNITS: Final = {
    "prompt": PER_MILLION,
    "completion": PER_MILLION,
    "request": PICO_PER_USD,
    "image": PICO_PER_USD,
    "audio": PER_MILLION,
}
"""Pico-USD in one USD of a `max_price` field: per million tokens, or for each request and each image."""
PRICE_MAX: Final = 10**12
"""Above any price in USD; a larger number would only be a larger number to compute with."""

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Slugs = Annotated[tuple[Name, ...], msgspec.Meta(max_length=100)]
"""Provider slugs, for all endpoints of a provider, and endpoint ids, for one."""
SortKey = Literal["price", "throughput", "latency"]


class Sort(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """With partition "none" the endpoints of all wanted models are sorted together, else the models keep their order."""

    by: SortKey
    partition: Literal["model", "none"] = "model"


class MaxPrice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Pico-USD per token; `request` and `image` each. `image` and `audio` bind requests that have an image or audio."""

    prompt: int | None = None
    completion: int | None = None
    request: int | None = None
    image: int | None = None
    audio: int | None = None


class Threshold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Completion tokens per second, or seconds to the first byte; a plain number stands for p50."""

    p50: float | None = None
    p75: float | None = None
    p90: float | None = None
    p99: float | None = None


class Preferences(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`only` and `region` are sets to be in: empty = nothing may be used (a client cannot say that, two rules together can)."""

    order: Slugs | None = None
    only: Slugs | None = None
    ignore: Slugs | None = None
    allow_fallbacks: bool | None = None
    require_parameters: bool | None = None
    data_collection: Literal["allow", "deny"] | None = None
    zdr: bool | None = None
    quantizations: Slugs | None = None
    sort: Sort | None = None
    max_price: MaxPrice | None = None
    preferred_min_throughput: Threshold | None = None
    preferred_max_latency: Threshold | None = None
    region: Slugs | None = None


NOTHING: Final = Preferences()
ADVICE: Final = {
    **dict.fromkeys(("order", "only", "ignore"), 'write a list of provider slugs or endpoint ids, such as ["groq"]'),
    "data_collection": 'write "allow" or "deny"',
    "quantizations": 'write a list such as ["fp8", "bf16"]',
    "sort": f'write one of {", ".join(get_args(SortKey))}, or {{"by": "price", "partition": "model" or "none"}}',
    "max_price": f"write an object with USD in {', '.join(PRICE_UNITS)}",
    "preferred_min_throughput": 'write tokens per second: a number, or an object such as {"p90": 40}',
    "preferred_max_latency": 'write seconds to the first byte: a number, or an object such as {"p90": 2}',
    "region": 'write a region such as "eu", or a list of those that are allowed',
    **dict.fromkeys(("allow_fallbacks", "require_parameters", "zdr"), "write true or false"),
}


def parse(raw: object) -> Preferences:
    """InvalidPreferences names the field; null and an empty list count as absent."""
    if not raw and (raw is None or isinstance(raw, dict)):
        return NOTHING
    if not isinstance(raw, dict):
        raise InvalidPreferences("provider: write an object.")
    given = {name: value for name, value in raw.items() if value is not None and value != []}
    try:
        _normalise(given)
        preferences = msgspec.convert(given, Preferences)
    except msgspec.ValidationError as error:
        raise InvalidPreferences(_explain(str(error))) from None
    if preferences.ignore or preferences.order:
        _check(preferences)
    return preferences


def covers(wide: str, narrow: str) -> bool:
    """A provider's slug covers itself and every endpoint of the provider; an endpoint's id only itself."""
    return wide == narrow or wide == narrow.partition("/")[0]


def _normalise(given: dict[str, Any]) -> None:
    """The short forms become the long ones: `sort: "price"`, a bare number for p50, one region, prices as USD."""
    if isinstance(sort := given.get("sort"), str):
        given["sort"] = {"by": sort}
    for name in ("preferred_min_throughput", "preferred_max_latency"):
        if isinstance(given.get(name), int | float) and not isinstance(given[name], bool):
            given[name] = {"p50": given[name]}
    if isinstance(region := given.get("region"), str | list):
        names = [region] if isinstance(region, str) else region
        given["region"] = [name.lower() if isinstance(name, str) else name for name in names]
    if isinstance(prices := given.get("max_price"), dict):
        given["max_price"] = {unit: _pico(unit, usd) for unit, usd in prices.items() if usd is not None}


def _pico(unit: str, usd: object) -> object:
    """What is no number, or an unknown unit, is left for the type check to name."""
    known = unit in PRICE_UNITS and isinstance(usd, int | float | str) and not isinstance(usd, bool)
    return _price(unit, usd) if known and isinstance(usd, int | float | str) else usd


@lru_cache(maxsize=4096)
def _price(unit: str, usd: float | str) -> int:
    """USD as a number or decimal text -> pico-USD per token or each, rounded down."""
    try:
        text = usd if isinstance(usd, str) else repr(usd)
        price = Decimal(text) if len(text) <= 64 else Decimal("nan")
        if not 0 <= price <= PRICE_MAX:
            raise ValueError
    except (ValueError, InvalidOperation):
        raise InvalidPreferences(f"provider.max_price.{unit}: write USD as a number from 0 to {PRICE_MAX}.") from None
    return int(price * PRICE_UNITS[unit])


def _check(wanted: Preferences) -> None:
    """InvalidPreferences for fields that cannot both be meant; it names both."""
    ignored = frozenset(wanted.ignore or ())
    for field in ("only", "order") if ignored else ():
        named = getattr(wanted, field) or ()
        if ignored.isdisjoint(named) and not any("/" in name and name.partition("/")[0] in ignored for name in named):
            continue
        name = next(name for name in named if any(covers(slug, name) for slug in ignored))
        raise InvalidPreferences(f"provider.{field} names {name[:100]!r}, which provider.ignore rules out; take it out of one of the two.")
    alone = wanted.allow_fallbacks is False and wanted.order and wanted.only
    if alone and not any(covers(only, slug) or covers(slug, only) for slug in wanted.order or () for only in wanted.only or ()):
        raise InvalidPreferences(
            "provider.order names nothing that is in provider.only, and provider.allow_fallbacks is false, so nothing is left; "
            "name in order what is in only, or allow fallbacks."
        )


def _explain(problem: str) -> str:
    """msgspec's 'Expected `array`, got `str` - at `$.order`' as 'provider.order: expected array, got str; write a list ...'."""
    what, _, where = problem.partition(" - at `$")
    path = where.rstrip("`").lstrip(".")
    if unknown := re.search(r"unknown field `(.*)`", what, re.DOTALL):
        parent = path.split(".")[0]
        known = ", ".join(Preferences.__struct_fields__) if not path else ADVICE.get(parent, "")
        return f"provider.{f'{path}.' if path else ''}{unknown[1]}: is not a known field; {'use one of: ' if not path else ''}{known}."
    field = re.split(r"[.\[]", path)[0]
    what = what.replace("`", "")
    return f"provider.{path}: {what[:1].lower()}{what[1:]}; {ADVICE.get(field, 'correct it')}."
