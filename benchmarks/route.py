"""How long `route.plan` takes for a model with 30 endpoints: median microseconds, without and with every preference and account rules."""

import statistics
import sys
import time
from collections.abc import Callable

from metering.price import Price
from policy import route, rules
from policy.route import Plan
from policy.stats import DEFAULT, Percentiles, Stats
from providers.catalog import Catalog
from providers.content import Content
from providers.provider import ChatRequest, DataPolicy, Endpoint, Model, Provider

ENDPOINTS = 30
ROUNDS = 2000
PREFERENCES = {
    "only": [f"p{i}" for i in range(28)],
    "ignore": ["p3/acme/fast", "p4/acme/fast"],
    "allow_fallbacks": True,
    "require_parameters": True,
    "data_collection": "deny",
    "zdr": True,
    "quantizations": ["fp8", "bf16"],
    "max_price": {"prompt": 1, "completion": "5", "request": 0.01, "image": 1, "audio": 100},
    "preferred_min_throughput": {"p50": 20, "p90": 10},
    "preferred_max_latency": 3,
    "region": ["eu", "us"],
}
RULES = {
    "allowed_models": ["acme/*"],
    "ignored_providers": ["p5"],
    "max_price": {"prompt": "0.9"},
    "zdr": True,
    "region": "eu",
    "provider": {"sort": "price"},
}


def endpoint(i: int) -> Endpoint:
    price = Price(prompt=100_000 + 7_000 * (i * 7 % 30), completion=400_000 + 9_000 * (i % 11))
    provider = Provider(
        slug=f"p{i}", name="P", dialect="openai", api_key_env=f"KEY_{i}", region=frozenset({"eu"}),
        data_policy=DataPolicy(trains=False, retention_days=0 if i % 10 else 30),
    )  # fmt: skip
    model = Model(id="acme/fast", name="Fast", company="acme", context_length=128_000)
    return Endpoint(
        id=f"p{i}/acme/fast", model=model, provider=provider, upstream_model="fast", price=price, price_id=price.id, context_length=128_000,
        quantization="fp8", capabilities=frozenset({"text", "tools", "json_schema"}),
    )  # fmt: skip


def median_us(call: Callable[[int], Plan]) -> float:
    took = []
    for i in range(ROUNDS):
        started = time.perf_counter_ns()
        call(i)
        took.append(time.perf_counter_ns() - started)
    return statistics.median(took) / 1000


def main() -> None:
    endpoints = tuple(map(endpoint, range(ENDPOINTS)))
    model = endpoints[0].model
    catalog = Catalog(companies={}, models={model.id: model}, providers={}, endpoints={model.id: endpoints})
    keys = {f"KEY_{i}" for i in range(ENDPOINTS)}
    figures = {
        each.id: Stats(uptime=0.99 - i % 3 / 20, latency=Percentiles(0.3, 0.5, 1, 2), throughput=Percentiles(60, 50, 40 - i, 20))
        for i, each in enumerate(endpoints)
    }

    def stats(id: str) -> Stats:
        return figures.get(id, DEFAULT)

    def request(preferences: dict[str, object]) -> ChatRequest:
        return ChatRequest(
            body=Content({}), model=model.id, stream=True, include_usage=True, max_tokens=None, n=1, prompt_tokens_max=1000,
            capabilities=frozenset({"tools"}), parameters=frozenset({"tools", "temperature", "max_tokens"}), preferences=preferences,
        )  # fmt: skip

    plain, full, own = request({}), request(PREFERENCES), rules.parse(RULES)
    sorted_full = request({**PREFERENCES, "sort": "throughput"})
    cases: list[tuple[str, Callable[[int], Plan]]] = [
        ("no preference", lambda i: route.plan(plain, catalog, keys=keys, stats=stats, draw=i / ROUNDS)),
        ("all preferences", lambda i: route.plan(full, catalog, keys=keys, stats=stats, draw=i / ROUNDS)),
        ("all, sort by throughput", lambda i: route.plan(sorted_full, catalog, keys=keys, stats=stats, draw=i / ROUNDS)),
        ("all, account rules, own key", lambda i: route.plan(
            full, catalog, keys=keys, stats=stats, draw=i / ROUNDS, rules=own, own_keys={"p9": "k"}, sticky="p7/acme/fast")),
    ]  # fmt: skip
    for name, call in cases:
        call(0)
        left = len(call(0).endpoints)
        print(f"{name:28} {median_us(call):7.1f} us   {left} of {ENDPOINTS} endpoints left", file=sys.stdout)


if __name__ == "__main__":
    main()
