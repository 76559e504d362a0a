"""The filters of GET models and its likes: which models are meant, in which order. A filter that cannot be kept is refused by name."""

from collections.abc import Callable, Mapping
from time import time
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.params import FromQuery

from gateway.api import query
from gateway.api.offers import Offer
from gateway.errors import BadRequest
from gateway.services import Services
from metering.money import parse_rate
from policy import parameters
from policy.facts import regions
from providers.catalog import Catalog
from providers.provider import Endpoint

MODALITIES: Final = frozenset({"text", "image", "file", "audio", "video", "embeddings"})
REGIONS: Final = frozenset({"eu", "us"})
NOT_KNOWN: Final = (
    *("arch", "category", "distillable", "use_rss", "use_rss_chat_links", "min_intelligence_index", "max_intelligence_index"),
    *("min_coding_index", "max_coding_index", "min_agentic_index", "max_agentic_index", "min_tool_success_rate", "max_tool_success_rate"),
)
"""Filters of the contract for which there are no figures here: to leave them out of account would be a wrong answer."""
SEARCH_CHARACTERS_MAX: Final = 200
CONTEXT_MAX: Final = 10**9
AGE_DAYS_MAX: Final = 100_000
DAY_SECONDS: Final = 86_400
RATES: Final = {"min_price": "prompt", "max_price": "prompt", "min_output_price": "completion", "max_output_price": "completion"}

Keeps = Callable[[Offer], bool]


class Filters(msgspec.Struct, frozen=True):
    """A model is meant if all of `keeps` say so; `sort` is one of `SORTS`."""

    keeps: tuple[Keeps, ...] = ()
    sort: str | None = None

    def chosen(self, offers: Mapping[str, Offer], at: Services) -> list[Offer]:
        found = [each for each in offers.values() if all(keep(each) for keep in self.keeps)]
        if self.sort is None:
            return found
        by = SORTS[self.sort]
        return sorted(found, key=lambda each: by(each, at))


async def filters(
    request: Request[Any, Any, Any],
    state: State,
    q: FromQuery[str | None] = None,
    supported_parameters: FromQuery[str | None] = None,
    input_modalities: FromQuery[str | None] = None,
    output_modalities: FromQuery[str | None] = None,
    context: FromQuery[str | None] = None,
    min_price: FromQuery[str | None] = None,
    max_price: FromQuery[str | None] = None,
    min_output_price: FromQuery[str | None] = None,
    max_output_price: FromQuery[str | None] = None,
    min_age_days: FromQuery[str | None] = None,
    max_age_days: FromQuery[str | None] = None,
    providers: FromQuery[str | None] = None,
    model_authors: FromQuery[str | None] = None,
    zdr: FromQuery[str | None] = None,
    region: FromQuery[str | None] = None,
    sort: FromQuery[str | None] = None,
) -> Filters:
    """`providers`, `zdr` and `region` must hold for one and the same endpoint; prices are those that the model's object shows."""
    for name in NOT_KNOWN:
        if name in request.query_params:
            raise BadRequest(f"{name}: is not known here; leave it out.", param=name)
    at: Services = state.services
    prices = {"min_price": min_price, "max_price": max_price, "min_output_price": min_output_price, "max_output_price": max_output_price}
    keeps = [
        _search(q),
        _parameters(supported_parameters),
        _inputs(input_modalities),
        _outputs(output_modalities),
        _context(context),
        *(_price(text, name) for name, text in prices.items()),
        *(_age(text, name) for name, text in (("min_age_days", min_age_days), ("max_age_days", max_age_days))),
        _authors(model_authors, at.catalog),
        _endpoints(providers, query.flag(zdr, "zdr"), region, at.catalog),
    ]
    wanted = None if sort is None else query.one_of(sort, "sort", SORTS)
    return Filters(tuple(keep for keep in keeps if keep is not None), wanted)


def _search(q: str | None) -> Keeps | None:
    if q is None:
        return None
    if not 0 < len(q) <= SEARCH_CHARACTERS_MAX:
        raise BadRequest(f"q: write 1 to {SEARCH_CHARACTERS_MAX} characters.", param="q")
    words = q.casefold()
    return lambda each: words in each.model.id.casefold() or words in each.model.name.casefold()


def _parameters(text: str | None) -> Keeps | None:
    names = query.several(text, "supported_parameters", parameters.KNOWN)
    return (lambda each: names.issubset(each.object["supported_parameters"])) if names else None


def _inputs(text: str | None) -> Keeps | None:
    names = query.several(text, "input_modalities", MODALITIES)
    return (lambda each: names.issubset(each.object["architecture"]["input_modalities"])) if names else None


def _outputs(text: str | None) -> Keeps | None:
    """Models that answer with text, unless others are asked for, or `all`."""
    names = query.several("text" if text is None else text, "output_modalities", MODALITIES | {"all"})
    return None if "all" in names else lambda each: names.issubset(each.model.output_modalities)


def _context(text: str | None) -> Keeps | None:
    least = query.whole(text, "context", least=1, most=CONTEXT_MAX)
    return None if least is None else lambda each: each.object["context_length"] >= least


def _price(text: str | None, name: str) -> Keeps | None:
    """USD per million tokens."""
    if text is None:
        return None
    try:
        bound = parse_rate(text[:100])
    except ValueError as error:
        raise BadRequest(f"{name}: {error}; write USD per million tokens, such as 0.5.", param=name) from None
    unit = RATES[name]
    if name.startswith("min_"):
        return lambda each: (each.endpoints[0].price.rate(unit) or 0) >= bound
    return lambda each: (each.endpoints[0].price.rate(unit) or 0) <= bound


def _age(text: str | None, name: str) -> Keeps | None:
    """A model whose age is not known is neither old nor young."""
    days = query.whole(text, name, least=0, most=AGE_DAYS_MAX)
    if days is None:
        return None
    moment = time() - days * DAY_SECONDS
    if name.startswith("min_"):
        return lambda each: 0 < each.model.created <= moment
    return lambda each: each.model.created >= max(moment, 1)


def _authors(text: str | None, catalog: Catalog) -> Keeps | None:
    names = query.several(text, "model_authors", frozenset(slug.lower() for slug in catalog.companies))
    return (lambda each: each.model.company.lower() in names) if names else None


def _endpoints(providers: str | None, zdr: bool, region: str | None, catalog: Catalog) -> Keeps | None:
    slugs = {name.lower(): slug for slug, provider in catalog.providers.items() for name in (provider.name, slug)}
    wanted = frozenset(slugs[name] for name in query.several(providers, "providers", slugs.keys(), catalog.providers))
    if region is not None:
        known = REGIONS.union(*(regions(endpoint) for endpoint in catalog.every_endpoint()))
        query.one_of(region, "region", sorted(known))
    if not wanted and not zdr and region is None:
        return None

    def keep(endpoint: Endpoint) -> bool:
        within = regions(endpoint)
        elsewhere = region is not None and (not within or not within <= {region})
        return not elsewhere and (not wanted or endpoint.provider.slug in wanted) and (not zdr or endpoint.data_policy.zdr)

    return lambda each: any(keep(endpoint) for endpoint in each.endpoints)


def _average(each: Offer, at: Services) -> int:
    price = each.endpoints[0].price
    return (price.prompt or 0) + (price.completion or 0)


def _throughput(each: Offer, at: Services) -> float:
    """The best endpoint's; what is not known comes last."""
    return -max(found.p50 if (found := at.health.stats(endpoint.id).throughput) else 0.0 for endpoint in each.endpoints)


def _latency(each: Offer, at: Services) -> float:
    return min(found.p50 if (found := at.health.stats(endpoint.id).latency) else float("inf") for endpoint in each.endpoints)


SORTS: Final[dict[str, Callable[[Offer, Services], float]]] = {
    "newest": lambda each, at: -each.model.created,
    "pricing-low-to-high": _average,
    "pricing-high-to-low": lambda each, at: -_average(each, at),
    "context-high-to-low": lambda each, at: -each.object["context_length"],
    "throughput-high-to-low": _throughput,
    "latency-low-to-high": _latency,
}
