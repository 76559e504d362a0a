"""The `provider` object of a request: which endpoints the client wants, in OpenRouter's field names; what is not understood is refused.

A field that this version does not know is an error that names it: a preference is honoured or refused, never silently ignored.
"""

from typing import Literal

import msgspec

from metering.money import PICO_PER_USD
from policy.errors import InvalidPreferences
from providers.provider import Endpoint

PER_MILLION = PICO_PER_USD // 10**6


class MaxPrice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """USD per million tokens, `request` in USD each; numbers or decimal text."""

    prompt: float | str | None = None
    completion: float | str | None = None
    request: float | str | None = None


class Preferences(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`require_parameters` is always on, as far as the catalog knows: an endpoint without a needed capability is never offered."""

    order: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    allow_fallbacks: bool = True
    require_parameters: bool = False
    data_collection: Literal["allow", "deny"] = "allow"
    zdr: bool = False
    quantizations: tuple[str, ...] = ()
    sort: Literal["price"] | None = None
    max_price: MaxPrice | None = None


def parse(raw: object) -> Preferences:
    """InvalidPreferences names the field that is wrong or not known; null counts as absent."""
    given = {name: value for name, value in raw.items() if value is not None} if isinstance(raw, dict) else raw or {}
    try:
        preferences = msgspec.convert(given, Preferences)
        for name in MaxPrice.__struct_fields__ if preferences.max_price else ():
            _ceiling(preferences, name)
    except (msgspec.ValidationError, ValueError) as error:
        raise InvalidPreferences(f"provider: {error}") from None
    return preferences


def removed(endpoint: Endpoint, wanted: Preferences) -> tuple[str, str] | None:
    """(step, reason) of the first preference that rules this endpoint out; None if it may be used."""
    if wanted.only and not _named(endpoint, wanted.only):
        return "Filter by provider.only", "not in provider.only"
    if _named(endpoint, wanted.ignore):
        return "Filter by provider.ignore", "in provider.ignore"
    policy = endpoint.provider.data_policy
    if wanted.data_collection == "deny" and policy.trains is not False:
        return "Filter by Data Policy", "the provider trains on prompts, or its policy is not known (data_collection: deny)"
    if wanted.zdr and (policy.retention_days != 0 or policy.trains is not False):
        return "Filter by Data Policy", "the provider keeps prompts, or its policy is not known (zdr)"
    if wanted.quantizations and (endpoint.quantization or "unknown") not in wanted.quantizations:
        return "Filter by provider.quantizations", "its quantization is not in provider.quantizations"
    if not wanted.allow_fallbacks and wanted.order and not _named(endpoint, wanted.order):
        return "Filter by provider.order", "not in provider.order, and allow_fallbacks is false"
    return _too_dear(endpoint, wanted)


def rank(endpoint: Endpoint, wanted: Preferences) -> int:
    """The position that `order` gives to this endpoint; those not named come last, all alike."""
    names = (endpoint.provider.slug, endpoint.id)
    return next((index for index, slug in enumerate(wanted.order) if slug in names), len(wanted.order))


def _named(endpoint: Endpoint, slugs: tuple[str, ...]) -> bool:
    return endpoint.provider.slug in slugs or endpoint.id in slugs


def _too_dear(endpoint: Endpoint, wanted: Preferences) -> tuple[str, str] | None:
    for name in MaxPrice.__struct_fields__ if wanted.max_price else ():
        ceiling = _ceiling(wanted, name)
        rate = endpoint.price.rate(name) if name != "request" else endpoint.price.request
        if ceiling is not None and (rate or 0) > ceiling:
            return "Filter by provider.max_price", f"its {name} price is above provider.max_price.{name}"
    return None


def _ceiling(wanted: Preferences, name: str) -> int | None:
    """Pico-USD per unit. The client's number is only compared with, never charged, so its float form is harmless."""
    value = getattr(wanted.max_price, name)
    try:
        return None if value is None else int(float(value) * (PICO_PER_USD if name == "request" else PER_MILLION))
    except (ValueError, OverflowError):
        raise ValueError(f"max_price.{name} must be a number in USD") from None
