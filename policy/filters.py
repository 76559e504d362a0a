"""Which endpoints of a model may take a request: a walk of steps, each a set of endpoints that it keeps and a reason for the others.

The steps have one order, so that the last one listed is the one that emptied the funnel. A reason says whose rule it was: a preference
of the request by its field, the account's rules, or the key's data policy.
"""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Final

import msgspec

from metering.price import unpriced
from policy.facts import Facts, capabilities, rate
from policy.funnel import Walk
from policy.parameters import KNOWN, supported
from policy.preferences import PRICE_UNITS, Preferences
from policy.rules import Rules
from providers.provider import ChatRequest, Endpoint

CAPABILITY_WORDS: Final = {
    "text": "chat",
    "embeddings": "embeddings",
    "tools": "tool use",
    "images": "image input",
    "json_schema": "structured outputs",
    "audio": "audio input",
    "provider_tools": "tools that the provider runs and bills itself, which have no price here",
}


class Asked(msgspec.Struct, frozen=True):
    """One request as the filters see it: `own` is what it said itself, `wanted` that together with the account's rules."""

    request: ChatRequest
    own: Preferences
    wanted: Preferences
    rules: Rules
    keys: AbstractSet[str]
    own_keys: Mapping[str, str]


def walk(facts: Facts, asked: Asked, model: str, variant: str) -> Walk:
    """What is left of one model's endpoints, before health is looked at."""
    way = Walk(facts)
    if asked.rules.allowed_models is not None or asked.rules.ignored_models is not None:
        refusal = asked.rules.refuses(model)
        if refusal is not None:
            way.keep("Filter by Account Models", 0, refusal)
    if variant == "free":
        way.keep("Filter by Variant", facts.free, "it is not free (:free)")
    _usable(way, asked)
    _named(way, asked.own, asked.wanted)
    _private(way, asked)
    _fitting(way, asked)
    _affordable(way, asked)
    return way


def _usable(way: Walk, asked: Asked) -> None:
    """What the installation and the request itself need, whatever is preferred."""
    facts, request = way.facts, asked.request
    keyed = facts.keyless
    for name, mask in facts.keys.items():
        if name in asked.keys:
            keyed |= mask
    for slug in asked.own_keys:
        keyed |= facts.names.get(slug, 0)
    way.keep("Filter by Provider Key", keyed, "this installation has no key for the provider")
    priced = facts.priced.get("prompt", 0) & facts.priced.get("completion", 0)
    for unit in request.extras:
        priced &= facts.priced.get(unit, 0)
    if way.left & ~priced:
        way.keep("Filter by Price", priced, lambda each: _unpriced(each, request))
    if request.capabilities:
        capable = way.left
        for name in request.capabilities:
            capable &= facts.capabilities.get(name, 0)
        if way.left & ~capable:
            way.keep("Filter by Capabilities", capable, lambda each: _lacking(each, request))


def _named(way: Walk, own: Preferences, wanted: Preferences) -> None:
    names = way.facts.names
    if wanted.only is not None:
        kept = _union(names, wanted.only)
        if way.left & ~kept:
            theirs = -1 if own.only is None else kept if own.only is wanted.only else _union(names, own.only)
            way.keep("Filter by provider.only", kept | ~theirs, "the account's rules allow only other providers")
            way.keep("Filter by provider.only", kept, "not in provider.only")
    if wanted.ignore is not None:
        gone = _union(names, wanted.ignore)
        if way.left & gone:
            way.keep("Filter by provider.ignore", ~_union(names, own.ignore or ()), "in provider.ignore")
            way.keep("Filter by provider.ignore", ~gone, "the account's rules ignore its provider")


def _private(way: Walk, asked: Asked) -> None:
    """What is not known of a provider counts as the worst."""
    facts, wanted = way.facts, asked.wanted
    if wanted.data_collection == "deny" and way.left & ~facts.untrained:
        by = _whose(asked, "data_collection")
        way.keep("Filter by Data Policy", facts.untrained, f"the provider trains on prompts, or its policy is not known ({by})")
    if wanted.zdr and way.left & ~facts.unkept:
        by = _whose(asked, "zdr")
        way.keep("Filter by Data Policy", facts.unkept, f"the provider keeps prompts, or its policy is not known ({by})")
    if wanted.region is not None:
        kept = 0
        for regions, mask in facts.regions.items():
            if regions.issubset(wanted.region):
                kept |= mask
        if way.left & ~kept:
            by = _whose(asked, "region") + (", which have none in common" if not wanted.region else "")
            way.keep("Filter by Region", kept, f"it may process requests elsewhere, or its region is not known ({by})")


def _fitting(way: Walk, asked: Asked) -> None:
    facts, wanted = way.facts, asked.wanted
    if wanted.quantizations is not None:
        kept = _union(facts.quantizations, wanted.quantizations)
        way.keep("Filter by provider.quantizations", kept, "its quantization is not in provider.quantizations")
    if wanted.require_parameters and asked.request.parameters:
        kept = way.left
        for name in asked.request.parameters:
            kept &= facts.parameters.get(name, 0)
        if way.left & ~kept:
            way.keep("Filter by provider.require_parameters", kept, lambda each: _unsupported(each, asked.request))
    if wanted.allow_fallbacks is False and wanted.order is not None:
        kept = _union(facts.names, wanted.order)
        way.keep("Filter by provider.order", kept, "not in provider.order, and allow_fallbacks is false")


def _affordable(way: Walk, asked: Asked) -> None:
    prices = asked.wanted.max_price
    if prices is None:
        return
    for unit in PRICE_UNITS:
        price = getattr(prices, unit)
        if price is None or (unit in ("image", "audio") and unit not in asked.request.extras):
            continue
        kept = way.facts.scales[unit].up_to(price)
        if way.left & ~kept:
            way.keep("Filter by provider.max_price", kept, _too_dear(unit, asked.own))


def _union(masks: Mapping[str, int], names: tuple[str, ...]) -> int:
    union = 0
    for name in names:
        union |= masks.get(name, 0)
    return union


def _unpriced(endpoint: Endpoint, request: ChatRequest) -> str:
    return f"it has no price for {', '.join(unpriced(endpoint.price, request.extras))}; unpriced is blocked, never free"


def _lacking(endpoint: Endpoint, request: ChatRequest) -> str:
    lacking = sorted(request.capabilities - capabilities(endpoint))
    return f"it does not support {', '.join(CAPABILITY_WORDS.get(name, name) for name in lacking)}"


def _unsupported(endpoint: Endpoint, request: ChatRequest) -> str:
    """Only public names are repeated: any other is the client's own."""
    lacking = request.parameters - supported(endpoint)
    named = sorted(lacking & KNOWN) + (["a field that is no known parameter"] if lacking - KNOWN else [])
    return f"it is not known to support {', '.join(named)} (require_parameters)"


def _too_dear(unit: str, own: Preferences) -> Callable[[Endpoint], str]:
    def reason(endpoint: Endpoint) -> str:
        asked = None if own.max_price is None else getattr(own.max_price, unit)
        if asked is not None and rate(endpoint.price, unit) > asked:
            return f"its {unit} price is above provider.max_price.{unit}"
        return f"its {unit} price is above max_price.{unit} in the account's rules"

    return reason


def _whose(asked: Asked, field: str) -> str:
    """Everyone who set a rule about data, and to what: `provider.zdr and zdr in the key's data policy`."""
    said = [(where, getattr(source, field)) for where, source in asked.rules.sources(asked.own)]
    return " and ".join(_said(where, field, value) for where, value in said if value not in (None, False, "allow"))


def _said(where: str, field: str, value: bool | str | tuple[str, ...]) -> str:
    words = field if isinstance(value, bool) else f"{field}: {value if isinstance(value, str) else ' or '.join(value) or 'none'}"
    return f"{words} in {where}" if where else f"provider.{words}"
