"""models/{author}/{slug}/endpoints and endpoints/zdr: who serves a model at what price and how well, and who keeps nothing. Public."""

from typing import Any

from litestar import get
from litestar.datastructures import State

from gateway.api.model_object import architecture, endpoint_object
from gateway.api.offers import named, offers
from gateway.services import Services


def model_endpoints(id: str, state: State) -> dict[str, Any]:
    """The endpoints of a model that can be used now, those tried first by default in front. BadRequest 404 for an unknown model."""
    at: Services = state.services
    found = named(id, state)
    model, endpoints = found.model, found.endpoints
    return {
        "data": {
            "id": model.id,
            "name": model.name,
            "created": model.created,
            "description": model.description,
            "architecture": architecture(model, endpoints),
            "endpoints": [endpoint_object(endpoint, at.health.stats(endpoint.id), at.catalog) for endpoint in endpoints],
        }
    }


@get(["/v1/endpoints/zdr", "/api/v1/endpoints/zdr"], summary="The endpoints whose providers keep no prompts and do not train on them")
async def list_zdr_endpoints(state: State) -> dict[str, Any]:
    """Those that are known to: what is not known is not listed."""
    at: Services = state.services
    found = [endpoint for each in offers(state).values() for endpoint in each.endpoints if endpoint.data_policy.zdr]
    return {"data": [endpoint_object(endpoint, at.health.stats(endpoint.id), at.catalog) for endpoint in found]}
