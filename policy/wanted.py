"""From the names in a request to models of the catalog, in order: plain ids, variants (`:nitro`, `:floor`, `:free`) and `policy/name`.

A model may be named without its company where that can mean only one (`Catalog.id_of`).
"""

import datetime
from typing import Final, NamedTuple

from policy.errors import InvalidPreferences, ModelDeprecated, UnknownModel, UnknownPreset
from policy.preferences import Preferences, Sort, SortKey
from policy.presets import close_names
from policy.rules import ModelPolicy, Rules
from providers.catalog import Catalog
from providers.provider import ChatRequest

SORTS: Final[dict[str, SortKey]] = {"nitro": "throughput", "floor": "price"}
VARIANTS: Final = (*SORTS, "free")
POLICY: Final = "policy/"


class Wanted(NamedTuple):
    """A model of the catalog; `variant` is one of `VARIANTS`, "" for the model as it is."""

    model: str
    variant: str


def resolve(request: ChatRequest, catalog: Catalog, rules: Rules, draw: float) -> list[Wanted]:
    """The wanted models, each once. An id of the catalog's own wins over every other reading. UnknownModel or UnknownPreset."""
    if not request.models and request.model in catalog.models:
        return [Wanted(request.model, "")]
    wanted: dict[str, Wanted] = {}
    for name in (request.model, *request.models):
        for each in _expanded(name, catalog, rules, draw):
            found = _found(each, catalog)
            wanted.setdefault(found.model, found)
    return list(wanted.values())


def in_time(wanted: list[Wanted], catalog: Catalog, today: datetime.date) -> list[Wanted]:
    """Without those that are not offered any more: a list of fallbacks outlives its models. ModelDeprecated if none is left."""
    left = [each for each in wanted if not catalog.models[each.model].retired(today)]
    if not left:
        first = catalog.models[wanted[0].model]
        assert first.deprecated is not None
        raise ModelDeprecated(first.id, first.deprecated, first.successor)
    return left


def sort_of(wanted: Wanted, asked: Preferences, effective: Preferences) -> Sort | None:
    """The variant's sort, else the preferences'. InvalidPreferences if the request itself asks for two different ones."""
    by = SORTS.get(wanted.variant)
    if by is None:
        return effective.sort
    if asked.sort is not None and asked.sort.by != by:
        raise InvalidPreferences(
            f"provider.sort is {asked.sort.by}, but the model's :{wanted.variant} means sort by {by}; leave one of the two out."
        )
    return asked.sort or Sort(by)


def _expanded(name: str, catalog: Catalog, rules: Rules, draw: float) -> list[str]:
    if name in catalog.models or not name.startswith(POLICY):
        return [name]
    policy = rules.policies.get(name.removeprefix(POLICY))
    if policy is None:
        raise UnknownPreset("policy", name.removeprefix(POLICY), close_names(name.removeprefix(POLICY), rules.policies))
    return _drawn(policy, draw) if policy.kind == "weighted" else [model for model, _ in policy.models]


def _drawn(policy: ModelPolicy, draw: float) -> list[str]:
    """One by weight, the others as fallbacks, the heaviest first."""
    left = draw * sum(weight for _, weight in policy.models)
    rest = sorted(policy.models, key=lambda choice: -choice[1])
    for choice in rest:
        left -= choice[1]
        if left < 0:
            break
    return [choice[0], *(model for model, _ in rest if model != choice[0])]


def _found(name: str, catalog: Catalog) -> Wanted:
    if (id := catalog.id_of(name)) is not None:
        return Wanted(id, "")
    model, _, variant = name.rpartition(":")
    if variant in VARIANTS and (id := catalog.id_of(model)) is not None:
        return Wanted(id, variant)
    raise UnknownModel(name, catalog.close_names(name))
