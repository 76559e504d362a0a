"""Endpoints, catalogs and requests for the tests of routing, made by hand and by Hypothesis."""

from collections.abc import Mapping
from random import Random
from typing import Any

from hypothesis import strategies as st

from metering.price import Price
from policy import route, rules
from policy.route import Plan
from policy.stats import DEFAULT, Percentiles, Stats
from providers.catalog import Catalog
from providers.content import Content
from providers.provider import ChatRequest, DataPolicy, Endpoint, Model, Provider

CAPABLE = frozenset({"text", "tools", "images", "json_schema"})
MILLION = 10**6
"""Pico-USD per token in one USD per million tokens."""


def endpoint(slug: str, model: str = "acme/fast", **fields: Any) -> Endpoint:
    known = Model(id=model, name=model, company=model.partition("/")[0], context_length=1000)
    provider = Provider(
        slug=slug, name=slug, dialect=fields.pop("dialect", "openai"), api_key_env=fields.pop("api_key_env", None),
        data_policy=fields.pop("policy", DataPolicy()), region=frozenset(fields.pop("provider_region", ())),
    )  # fmt: skip
    rates = fields.pop("price", Price(prompt=100, completion=200))
    given = {"context_length": 1000, "capabilities": CAPABLE, **fields, "region": frozenset(fields.get("region", ()))}
    return Endpoint(id=f"{slug}/{model}", model=known, provider=provider, upstream_model="m", price=rates, price_id=rates.id, **given)


def usd(prompt: float, completion: float | None = None) -> Price:
    """A price in USD per million tokens."""
    return Price(prompt=round(prompt * MILLION), completion=round((prompt if completion is None else completion) * MILLION))


def catalog(*endpoints: Endpoint) -> Catalog:
    models = {each.model.id: each.model for each in endpoints}
    by_model = {id: tuple(each for each in endpoints if each.model.id == id) for id in models}
    return Catalog(companies={}, models=models, providers={each.provider.slug: each.provider for each in endpoints}, endpoints=by_model)


def request(model: str = "acme/fast", **fields: Any) -> ChatRequest:
    known = {"stream": False, "include_usage": False, "max_tokens": None, "n": 1, "prompt_tokens_max": 10, **fields}
    return ChatRequest(body=Content({"messages": []}), model=model, **known)


def plan(wanted: ChatRequest, *endpoints: Endpoint, figures: Mapping[str, Stats] | None = None, **arguments: Any) -> Plan:
    """`figures` by provider slug, or by the whole id of the figures; `rules` as the owner would write them."""
    if isinstance(arguments.get("rules"), dict):
        arguments["rules"] = rules.parse(arguments["rules"])
    known = figures or {}

    def stats(id: str) -> Stats:
        return known.get(id) or known.get(id.partition("/")[0], DEFAULT)

    return route.plan(wanted, catalog(*endpoints), **{"keys": frozenset(), "stats": stats, **arguments})


def slugs(wanted: ChatRequest, *endpoints: Endpoint, **arguments: Any) -> list[str]:
    return [each.provider.slug for each in plan(wanted, *endpoints, **arguments).endpoints]


def steady(value: float) -> Percentiles:
    return Percentiles(value, value, value, value)


# For properties: few names, so that they meet; prices and regions on and around the bounds that are asked for.

SLUGS = ("p0", "p1", "p2", "p3")
MODELS = ("acme/fast", "acme/slow", "zeta/big")
REGIONS = ("eu", "us")
QUANTIZATIONS = ("fp8", "bf16")
PARAMETERS = ("temperature", "tools", "top_k", "response_format", "verbosity")
USD = (0, 0.1, 0.5, 1, 3)


def _catalog(seed: int) -> Catalog:
    """Every model has endpoints at some of the providers; a provider is the same one for all its models."""
    pick = Random(seed)
    providers = {
        slug: {
            "api_key_env": pick.choice([None, None, None, None, "KEY", "MISSING"]),
            "policy": DataPolicy(trains=pick.choice([None, True, False, False]), retention_days=pick.choice([None, 0, 0, 30])),
            "provider_region": pick.choice([(), ("eu",), ("us",), REGIONS]),
        }
        for slug in SLUGS
    }
    served = [(slug, model) for model in MODELS for slug in pick.sample(SLUGS, pick.randint(2, len(SLUGS)))]
    return catalog(*(endpoint(slug, model, **providers[slug], **_fields(pick)) for slug, model in served))


def _fields(pick: Random) -> dict[str, Any]:
    rates = [round(value * MILLION) for value in USD]
    return {
        "price": Price(
            prompt=pick.choice([*rates, *rates, *rates, None]), completion=pick.choice(rates), request=pick.choice([0, 0, 10**9]),
            image=pick.choice([*rates, None]),
        ),
        "priority": pick.choice([0, 0, 1]),
        "quantization": pick.choice([None, *QUANTIZATIONS]),
        "region": pick.choice([(), (), ("eu",), REGIONS]),
        "capabilities": CAPABLE - set(pick.sample(sorted(CAPABLE), pick.choice([0, 0, 0, 1]))),
        "parameters": pick.choice([None, frozenset(pick.sample(PARAMETERS, 3)), frozenset()]),
    }  # fmt: skip


def _figures(seed: int) -> dict[str, Stats]:
    """Of some endpoints nothing is known."""
    pick = Random(seed)
    return {
        f"{slug}/{model}": Stats(
            ejected=pick.random() < 0.4, probe=pick.random() < 0.3, outage=pick.random() < 0.3, uptime=pick.choice([None, 0.5, 0.9, 1.0]),
            latency=pick.choice([None, steady(0.5), steady(10)]), throughput=pick.choice([None, steady(3), steady(50)]),
            in_flight=pick.randint(0, 3),
        )
        for slug in SLUGS for model in MODELS if pick.random() < 0.7
    }  # fmt: skip


# Catalogs and figures are made from a number: drawing each of their fields would take most of the time.
catalogs = st.integers(0, 10**6).map(_catalog)
all_figures: st.SearchStrategy[dict[str, Stats]] = st.just({}) | st.integers(0, 10**6).map(_figures)

names = st.lists(st.sampled_from([*SLUGS, *(f"{slug}/{model}" for slug in SLUGS for model in MODELS)]), max_size=4, unique=True)
max_prices = st.fixed_dictionaries(
    {}, optional={unit: st.sampled_from([*USD, "0.5"]) for unit in ("prompt", "completion", "request", "image")}
)
narrowing = {
    "max_price": max_prices,
    "data_collection": st.sampled_from(["allow", "deny"]),
    "zdr": st.booleans(),
    "region": st.sampled_from(REGIONS) | st.lists(st.sampled_from(REGIONS), unique=True),
}
thresholds = st.sampled_from([1, 20, {"p90": 5}])


def some(most: int, options: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with a few of the fields: with many at once hardly any endpoint is left to be looked at."""
    keys = st.lists(st.sampled_from(sorted(options)), max_size=most, unique=True)
    return keys.flatmap(lambda chosen: st.fixed_dictionaries({key: options[key] for key in chosen}))


preferences = some(
    4,
    {
        **narrowing,
        "order": names,
        "only": names,
        "ignore": names,
        "allow_fallbacks": st.booleans(),
        "require_parameters": st.booleans(),
        "quantizations": st.lists(st.sampled_from([*QUANTIZATIONS, "unknown"]), unique=True),
        "sort": st.sampled_from(["price", "latency", {"by": "throughput", "partition": "none"}]),
        "preferred_min_throughput": thresholds,
        "preferred_max_latency": thresholds,
    },
)
patterns = st.lists(st.sampled_from([*MODELS, "acme/*", "zeta/*"]), max_size=2)
account_rules = some(
    2,
    {
        **narrowing,
        "allowed_models": patterns,
        "ignored_models": patterns,
        "allowed_providers": names,
        "ignored_providers": names,
        "provider": preferences,
    },
)
requests = st.builds(
    lambda model, models, **fields: request(model, models=tuple(models), **fields),
    st.sampled_from([*MODELS, *MODELS, "acme/fast:free", "acme/slow:floor", "zeta/big:nitro"]),
    st.lists(st.sampled_from(MODELS), max_size=2),
    extras=st.frozensets(st.just("image")),
    capabilities=st.sampled_from([frozenset(), frozenset({"tools"}), frozenset({"images"})]),
    parameters=st.frozensets(st.sampled_from([*PARAMETERS, "x_unknown"]), max_size=3),
    preferences=preferences,
)
