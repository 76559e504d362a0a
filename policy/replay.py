"""One recorded generation under other rules: which endpoint it would have gone to, and what that would have cost. Pure.

Only metadata is recorded, so a request is replayed as far as its metadata tell it (`CAVEATS`). Its draw is that of its id, so that
under the rules and prices of then it goes where it went, unless health, a sticky route or its own preferences had a part in that.
"""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Final

import msgspec

from metering import price
from metering.recorded import Recorded
from metering.usage import Usage
from policy.errors import NoEndpoint
from policy.ranking import StatsOf
from policy.route import draw_of, plan
from policy.rules import Rules
from providers.catalog import Catalog
from providers.content import Content
from providers.provider import ChatRequest, Endpoint

UNKNOWN_MODEL: Final = "Unknown Model"
"""The step that refuses a model which the catalog no longer has."""
CAVEATS: Final = (
    "The catalog, its prices and the provider keys are those of now.",
    "What a request asked for itself is not recorded: its preferences, variant, fallback models, preset, tools and its max_tokens. It is "
    "replayed as a plain request to the model that served it, with as many tokens as it used.",
    "Health, load and sticky routes are not replayed: every endpoint counts as up and each request goes to its first choice.",
    "Another provider may count tokens differently, and may have had other parts of a prompt in its cache.",
    "An estimated first byte is the endpoint's median of the same period; of what is not streamed it is the whole answer.",
    "Throughput is not estimated: rules that sort by it, or prefer some, see none.",
)


class Replayed(msgspec.Struct, frozen=True):
    """`endpoint` is the first choice and `charge` its cost, nano-USD; or `refused` is the step of the funnel that left none."""

    endpoint: Endpoint | None = None
    charge: int = 0
    refused: str | None = None


def replay(recorded: Recorded, catalog: Catalog, *, keys: AbstractSet[str], rules: Rules, stats: StatsOf) -> Replayed:
    """`recorded` was answered. `keys` are the names of the operator's provider keys, `stats` what is known of the endpoints."""
    if recorded.model not in catalog.models:
        return Replayed(refused=UNKNOWN_MODEL)
    try:
        planned = plan(_request(recorded), catalog, keys=keys, rules=rules, stats=stats, draw=draw_of(recorded.id))
    except NoEndpoint as error:
        return Replayed(refused=error.failed_step)
    first = planned.endpoints[0]
    return Replayed(first, price.cost(price.payable(recorded.usage, first.price), first.price).charge)


def looks_at_latency(rules: Rules) -> bool:
    """Only then is a latency told: otherwise it would break ties between equal prices, which live load broke and no record does."""
    wanted = rules.provider
    return wanted.preferred_max_latency is not None or (wanted.sort is not None and wanted.sort.by == "latency")


def _request(recorded: Recorded) -> ChatRequest:
    usage = recorded.usage
    return ChatRequest(
        body=Content({}),
        model=recorded.model,
        stream=recorded.streamed,
        include_usage=False,
        max_tokens=usage.completion_tokens or None,
        n=1,
        prompt_tokens_max=usage.prompt_tokens,
        extras=frozenset(_extras(usage)),
        capabilities=frozenset({"images"} if usage.image else ()),
    )


def _extras(usage: Usage) -> Iterator[str]:
    """What was billed as such must have a price. Cache writes are no request's: a provider without a price for them makes none."""
    for unit in ("image", "audio", "audio_completion"):
        if getattr(usage, unit):
            yield unit
