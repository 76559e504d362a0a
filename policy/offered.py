"""Which models and endpoints a plain chat request would be offered under the rules of an account: the filters alone, without a request."""

import datetime
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Final

from policy import filters
from policy.facts import bits, facts_of
from policy.filters import Asked
from policy.preferences import NOTHING
from policy.rules import Rules, effective
from providers.catalog import Catalog
from providers.content import Content
from providers.provider import ChatRequest, Endpoint, Model

_PLAIN: Final = ChatRequest(
    body=Content({}),
    model="",
    stream=False,
    include_usage=False,
    max_tokens=None,
    n=1,
    prompt_tokens_max=1,
    capabilities=frozenset({"text"}),
)


def offered(
    catalog: Catalog, *, keys: AbstractSet[str], rules: Rules, own_keys: Mapping[str, str], today: datetime.date
) -> Iterator[tuple[Model, tuple[Endpoint, ...]]]:
    """Models with their endpoints, the ones tried first by default in front; models that are left none are left out.

    `keys`, `rules`, `own_keys` and `today` as for `route.plan`; health is not looked at, as it passes.
    """
    asked = Asked(_PLAIN, NOTHING, effective(NOTHING, rules), rules, keys, own_keys)
    for model in catalog.models.values():
        if model.retired(today):
            continue
        way = filters.walk(facts_of(catalog.endpoints.get(model.id, ())), asked, model.id, "")
        if way.left:
            facts = way.facts
            left = frozenset(bits(way.left))
            yield model, tuple(facts.endpoints[i] for i in facts.order if i in left)
