"""May this request be served, by which endpoints, in which order, and why: pure, so that the same inputs give the same route.

Every endpoint of the wanted models walks down the steps of `filters`; the funnel remembers how many each step left and why an endpoint
went. What is left is ordered by `ranking`.
"""

import datetime
import hashlib
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from types import MappingProxyType
from typing import Any, Final

import msgspec

from metering import price
from policy import filters, preferences, presets, ranking
from policy.explanation import Ranked, no_endpoint, ranked
from policy.facts import facts_of
from policy.filters import Asked
from policy.funnel import Step, Walk, funnel
from policy.ranking import Ranking, StatsOf
from policy.rules import NO, Rules, effective
from policy.stats import DEFAULT, Stats
from policy.wanted import in_time, resolve, sort_of
from providers import prompt
from providers.catalog import Catalog
from providers.provider import ChatRequest, Endpoint

NO_KEYS: Final[Mapping[str, str]] = MappingProxyType({})


class Plan(msgspec.Struct, frozen=True):
    """The endpoints to try, in order, and how they were chosen. `own_keys`: endpoint id -> id of the customer's key to use there.

    `require_parameters`: an endpoint that would drop or change a parameter after all must not be used.
    """

    endpoints: tuple[Endpoint, ...]
    funnel: tuple[Step, ...]
    own_keys: Mapping[str, str] = NO_KEYS
    rankings: tuple[Ranking, ...] = ()
    require_parameters: bool = False

    @property
    def ranked(self) -> tuple[Ranked, ...]:
        """The order in words; made only when somebody wants to read it."""
        return ranked(self.endpoints, self.rankings, self.own_keys)


def never(id: str) -> Stats:
    """Of every endpoint nothing is known."""
    return DEFAULT


def draw_of(generation_id: str) -> float:
    """The draw of a generation, 0 <= draw < 1: by its id, so that a recorded generation can be replayed."""
    drawn = int.from_bytes(hashlib.blake2b(generation_id.encode(), digest_size=8).digest())
    return (drawn >> 11) / 2**53


def plan(
    request: ChatRequest,
    catalog: Catalog,
    *,
    keys: AbstractSet[str],
    rules: Rules = NO,
    stats: StatsOf = never,
    draw: float = 0.0,
    sticky: str | None = None,
    own_keys: Mapping[str, str] = NO_KEYS,
    today: datetime.date = datetime.date.min,
) -> Plan:
    """The endpoints to try. `keys` are the names of the operator's provider keys, `rules` the account's, `draw` from `draw_of`.

    `stats` gives an endpoint's figures by its id, `id#key` for a customer's own key; `sticky` is the id of the endpoint that served this
    conversation; `own_keys` maps provider slugs to the ids of the customer's keys. InvalidPreferences, UnknownPreset, UnknownModel,
    ModelDeprecated if every wanted model was over before `today` (UTC), or NoEndpoint with the funnel. What a preset adds to the body is
    put in before (`presets.apply_preset`), as the request is read from it.
    """
    if presets.MARK in request.model and request.model not in catalog.models:
        request = _with_preset(request, rules)
    own = preferences.parse(request.preferences)
    wanted = effective(own, rules)
    asked = Asked(request, own, wanted, rules, keys, own_keys)
    walks: list[Walk] = []
    rankings: list[Ranking] = []
    models = in_time(resolve(request, catalog, rules, draw), catalog, today)
    for each in models:
        way = filters.walk(facts_of(catalog.endpoints.get(each.model, ())), asked, each.model, each.variant)
        walks.append(way)
        sort = sort_of(each, own, wanted)
        wishes = ranking.wishes(sort, own, wanted)
        rankings.append(ranking.rank(way, wishes, stats, draw=draw * 2**16 % 1, sticky=sticky, own_keys=own_keys))
    endpoints = ranking.together(rankings)
    if not endpoints:
        raise no_endpoint(walks, [each.model for each in models])
    if wanted.allow_fallbacks is False and not wanted.order:
        endpoints = _first_only(endpoints, walks)
    theirs = {each.id: own_keys[slug] for each in endpoints if (slug := each.provider.slug) in own_keys} if own_keys else NO_KEYS
    return Plan(tuple(endpoints), funnel(walks), theirs, tuple(rankings), bool(wanted.require_parameters))


def output_max(request: ChatRequest, endpoint: Endpoint) -> int:
    """The most completion tokens that one choice can have here: the smallest of the client's limit and the endpoint's; 0 for embeddings."""
    if request.operation == "embeddings":
        return 0
    bounds = (request.max_tokens, endpoint.max_output_tokens, endpoint.context_length)
    return min(bound for bound in bounds if bound is not None)


def ceiling(request: ChatRequest, endpoints: tuple[Endpoint, ...]) -> int:
    """The worst-case cost of the request at the dearest of these endpoints, nano-USD."""
    return max(
        price.ceiling(
            endpoint.price,
            prompt_tokens=prompt.most(request, endpoint),
            completion_tokens=output_max(request, endpoint) * request.n,
            extras=request.extras,
        )
        for endpoint in endpoints
    )


def _with_preset(request: ChatRequest, rules: Rules) -> ChatRequest:
    """The model, fallbacks and preferences of a preset that still stands in the model's name."""
    named: dict[str, Any] = {"model": request.model, "provider": request.preferences}
    if request.models:
        named["models"] = list(request.models)
    preset = presets.find(named, rules.presets)
    assert preset is not None
    full = presets.apply_preset(named, preset)
    models = tuple(full.get("models", ()))
    return msgspec.structs.replace(request, model=full["model"], models=models, preferences=full.get("provider", {}))


def _first_only(endpoints: list[Endpoint], walks: list[Walk]) -> list[Endpoint]:
    """`allow_fallbacks: false` without an order: the others go, and the funnel says why."""
    first = endpoints[0]
    for way in walks:
        chosen = sum(1 << i for i, endpoint in enumerate(way.facts.endpoints) if endpoint is first)
        way.keep("Filter by provider.allow_fallbacks", chosen, f"allow_fallbacks is false, and {first.id} was chosen")
    return [first]
