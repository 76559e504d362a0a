"""What can be used now: every model with its endpoints and its object, made once a day, as neither catalog nor keys change in a process."""

import datetime
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from litestar.datastructures import State

from gateway.api.model_object import model_object
from gateway.deprecation import day
from gateway.errors import BadRequest
from gateway.services import Services
from metering import price
from metering.money import now_ms
from policy.facts import facts_of
from policy.wanted import VARIANTS
from providers.provider import Endpoint, Model


class Offer(NamedTuple):
    """A model, its usable endpoints, those tried first by default in front, and its object, also as JSON."""

    model: Model
    endpoints: tuple[Endpoint, ...]
    object: dict[str, Any]
    json: msgspec.Raw


def offer(model: Model, endpoints: tuple[Endpoint, ...]) -> Offer:
    found = model_object(model, endpoints)
    return Offer(model, endpoints, found, msgspec.Raw(msgspec.json.encode(found)))


def offers(state: State) -> Mapping[str, Offer]:
    """By model id, in the catalog's order, without those that are not offered any more."""
    today = day(now_ms())
    made: tuple[datetime.date, dict[str, Offer]] | None = state.get("offers")
    if made is None or made[0] != today:
        at: Services = state.services
        usable = ((model, _usable(id, at)) for id, model in at.catalog.models.items() if not model.retired(today))
        made = state.offers = today, {model.id: offer(model, endpoints) for model, endpoints in usable if endpoints}
    return made[1]


def named(id: str, state: State) -> Offer:
    """A model by any name that a request may give it; `:free` has only what is free. BadRequest 404 with the ids that look like it."""
    at: Services = state.services
    id = id.lstrip("/")
    found = offers(state).get(at.catalog.id_of(id) or id)
    model, _, variant = id.rpartition(":")
    if found is None and variant in VARIANTS:
        found = offers(state).get(at.catalog.id_of(model) or model)
        if found is not None and variant == "free":
            found = _free(found)
    if found is not None:
        return found
    close = at.catalog.close_names(id)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    raise BadRequest(f"No model of this id can be used here.{hint}", param="id", status=404, error_type="not_found")


def _usable(model_id: str, at: Services) -> tuple[Endpoint, ...]:
    """The endpoints of a model that are priced and whose provider has its key."""
    facts = facts_of(at.catalog.endpoints.get(model_id, ()))
    found = (facts.endpoints[i] for i in facts.order)
    return tuple(
        endpoint
        for endpoint in found
        if not price.unpriced(endpoint.price, frozenset())
        and (endpoint.provider.api_key_env is None or endpoint.provider.api_key_env in at.provider_keys)
    )


def _free(found: Offer) -> Offer | None:
    facts = facts_of(found.endpoints)
    free = tuple(endpoint for i, endpoint in enumerate(facts.endpoints) if facts.free >> i & 1)
    return offer(found.model, free) if free else None
