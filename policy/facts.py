"""What filters and ranking need of a model's endpoints, computed once: sets of endpoints as bit masks, and their static order.

Bit i of a mask is endpoint i of the model, so that a filter is one `&` for all of them. The facts of a model are kept as long as the
catalog that they are of is in use (a new catalog has new tuples); they depend on nothing else.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from metering.price import UNITS, Price
from policy.parameters import supported
from policy.preferences import PRICE_UNITS
from providers.prompt import IMAGE_TOKENS_BOUND
from providers.provider import Endpoint
from providers.registry import CACHERS, EMBEDDERS

CACHED_MAX: Final = 4096
PROMPT_TOKENS: Final = 750
COMPLETION_TOKENS: Final = 250
SCALE: Final = 10**12
"""Keeps the weights of all possible prices well inside a float."""

Masks = dict[str, int]


class Scale(NamedTuple):
    """The prices of one unit in ascending order, and beside each the endpoints that cost no more."""

    prices: list[int]
    masks: list[int]

    def up_to(self, price: int) -> int:
        return self.masks[bisect_right(self.prices, price)]


class Facts(NamedTuple):
    """`order` is by priority and price, `by_price` by price and priority; both end in the catalog's order. `weights` are 1/price^2."""

    endpoints: tuple[Endpoint, ...]
    ids: tuple[str, ...]
    everyone: int
    names: Masks
    keys: Masks
    keyless: int
    priced: Masks
    free: int
    capabilities: Masks
    parameters: Masks
    quantizations: Masks
    regions: dict[frozenset[str], int]
    untrained: int
    unkept: int
    scales: dict[str, Scale]
    prices: tuple[int, ...]
    priorities: tuple[int, ...]
    weights: tuple[float, ...]
    order: tuple[int, ...]
    by_price: tuple[int, ...]


def facts_of(endpoints: tuple[Endpoint, ...]) -> Facts:
    """By identity: the tuple is kept with its facts, so its id cannot be another's in the meantime."""
    found = _CACHE.get(id(endpoints))
    if found is not None:
        return found
    if len(_CACHE) >= CACHED_MAX:
        _CACHE.clear()
    _CACHE[id(endpoints)] = facts = _facts(endpoints)
    return facts


_CACHE: Final[dict[int, Facts]] = {}


def bits(mask: int) -> Iterator[int]:
    """The places of the ones, lowest first."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest


def typical(price: Price) -> int:
    """Pico-USD for 750 prompt and 250 completion tokens, a common mix, and the fee per request: what prices are compared by."""
    return PROMPT_TOKENS * (price.prompt or 0) + COMPLETION_TOKENS * (price.completion or 0) + price.request


def rate(price: Price, unit: str) -> int:
    """What `max_price` compares with, pico-USD: per token, per request, or for one image of the most tokens that are held for one."""
    if unit == "request":
        return price.request
    return (price.rate(unit) or 0) * (IMAGE_TOKENS_BOUND if unit == "image" else 1)


def regions(endpoint: Endpoint) -> frozenset[str]:
    return endpoint.region or endpoint.provider.region


def _facts(endpoints: tuple[Endpoint, ...]) -> Facts:
    count = range(len(endpoints))
    prices = tuple(typical(each.price) for each in endpoints)
    priorities = tuple(each.priority for each in endpoints)
    policies = [each.data_policy for each in endpoints]
    regional: dict[frozenset[str], int] = {}
    for i in count:
        regional[regions(endpoints[i])] = regional.get(regions(endpoints[i]), 0) | 1 << i
    return Facts(
        endpoints=endpoints,
        ids=tuple(each.id for each in endpoints),
        everyone=(1 << len(endpoints)) - 1,
        names=_masks(endpoints, lambda each: (each.provider.slug, each.id)),
        keys=_masks(endpoints, lambda each: filter(None, [each.provider.api_key_env])),
        keyless=_where(not each.provider.api_key_env for each in endpoints),
        priced=_masks(endpoints, _priced),
        free=_where(_is_free(each.price) for each in endpoints),
        capabilities=_masks(endpoints, capabilities),
        parameters=_masks(endpoints, supported),
        quantizations=_masks(endpoints, lambda each: (each.quantization or "unknown",)),
        regions={names: mask for names, mask in regional.items() if names},
        untrained=_where(policy.trains is False for policy in policies),
        unkept=_where(policy.zdr for policy in policies),
        scales={unit: _scale([rate(each.price, unit) for each in endpoints]) for unit in PRICE_UNITS},
        prices=prices,
        priorities=priorities,
        weights=tuple((SCALE / price) ** 2 if price else 0.0 for price in prices),
        order=tuple(sorted(count, key=lambda i: (priorities[i], prices[i]))),
        by_price=tuple(sorted(count, key=lambda i: (prices[i], priorities[i]))),
    )


def capabilities(endpoint: Endpoint) -> frozenset[str]:
    """Whatever else it can do, an endpoint answers chats, unless embeddings are all it gives; those only where its dialect has words."""
    only_embeddings = endpoint.capabilities == frozenset({"embeddings"})
    able = endpoint.capabilities if only_embeddings else endpoint.capabilities | {"text"}
    return able if endpoint.provider.dialect in EMBEDDERS else able - {"embeddings"}


def _priced(endpoint: Endpoint) -> Iterator[str]:
    """The units that cost something known here; a cache that nobody is asked to write costs nothing."""
    for unit in UNITS:
        unasked = unit == "cache_write" and endpoint.provider.dialect not in CACHERS
        if unasked or endpoint.price.rate(unit) is not None:
            yield unit


def _is_free(price: Price) -> bool:
    """Every rate that could be charged is 0; one that is absent is either another's or blocks the endpoint."""
    rates = [price.rate(unit) for unit in UNITS]
    return price.prompt == 0 and price.completion == 0 and price.request == 0 and not any(rates)


def _masks(endpoints: tuple[Endpoint, ...], of: Callable[[Endpoint], Iterable[str]]) -> Masks:
    masks: Masks = {}
    for i, endpoint in enumerate(endpoints):
        for name in of(endpoint):
            masks[name] = masks.get(name, 0) | 1 << i
    return masks


def _where(flags: Iterable[bool]) -> int:
    return sum(flag << i for i, flag in enumerate(flags))


def _scale(prices: list[int]) -> Scale:
    ascending, masks, mask = sorted(range(len(prices)), key=prices.__getitem__), [0], 0
    for i in ascending:
        mask |= 1 << i
        masks.append(mask)
    return Scale([prices[i] for i in ascending], masks)
