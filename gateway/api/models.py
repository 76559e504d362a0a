"""GET models and GET models/{id}: what can be used now, in OpenRouter's superset of OpenAI's model object. Public, no key needed."""

from typing import Any

from litestar import get
from litestar.datastructures import State
from litestar.params import FromPath

from gateway.errors import BadRequest
from gateway.services import Services
from metering import price
from metering.money import format_rate
from policy import parameters
from providers.provider import Endpoint, Model


@get(["/v1/models", "/api/v1/models"], summary="List the models that can be used now")
async def list_models(state: State) -> dict[str, Any]:
    at: Services = state.services
    data = [model_object(model, endpoints) for model in at.catalog.models.values() if (endpoints := usable(model.id, at))]
    return {"object": "list", "data": data, "total_count": len(data), "links": {"next": None}}


@get(["/v1/models/{id:path}", "/api/v1/models/{id:path}"], summary="One model; the slash of its id plain or escaped")
async def get_model(state: State, id: FromPath[str]) -> dict[str, Any]:
    at: Services = state.services
    id = str(id).lstrip("/")
    endpoints = usable(id, at)
    if not endpoints:
        close = at.catalog.close_names(id)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise BadRequest(f"No model of this id can be used here.{hint}", param="id", status=404, error_type="not_found")
    return model_object(at.catalog.models[id], endpoints)


def usable(model_id: str, at: Services) -> list[Endpoint]:
    """The endpoints of a model that are priced and whose provider has its key, cheapest first."""
    fitting = [
        endpoint
        for endpoint in at.catalog.endpoints.get(model_id, ())
        if not price.unpriced(endpoint.price, frozenset())
        and (endpoint.provider.api_key_env is None or endpoint.provider.api_key_env in at.provider_keys)
    ]
    return sorted(fitting, key=lambda endpoint: (endpoint.priority, (endpoint.price.prompt or 0) + (endpoint.price.completion or 0)))


def model_object(model: Model, endpoints: list[Endpoint]) -> dict[str, Any]:
    first = endpoints[0]
    capabilities = frozenset[str]().union(*(endpoint.capabilities for endpoint in endpoints))
    modalities = [*model.input_modalities, *(["image"] if "images" in capabilities and "image" not in model.input_modalities else [])]
    return {
        "id": model.id,
        "object": "model",
        "owned_by": model.company,
        "canonical_slug": model.id,
        "hugging_face_id": None,
        "name": model.name,
        "created": model.created,
        "description": model.description,
        "context_length": max(endpoint.context_length for endpoint in endpoints),
        "architecture": {
            "modality": f"{'+'.join(modalities)}->{'+'.join(model.output_modalities)}",
            "input_modalities": modalities,
            "output_modalities": list(model.output_modalities),
            "tokenizer": model.tokenizer,
            "instruct_type": None,
        },
        "pricing": pricing(first),
        "top_provider": {"context_length": first.context_length, "max_completion_tokens": first.max_output_tokens, "is_moderated": False},
        "per_request_limits": None,
        "supported_parameters": sorted(frozenset[str]().union(*(parameters.supported(endpoint) for endpoint in endpoints))),
        "default_parameters": None,
        "supported_voices": None,
        "knowledge_cutoff": None,
        "expiration_date": None,
        "links": {"details": f"/api/v1/models/{model.id}"},
    }


def pricing(endpoint: Endpoint) -> dict[str, str]:
    """USD per token (`request`: each) as decimal text; rates that fall back are shown as what would be charged."""
    names = {"prompt": "prompt", "completion": "completion", "input_cache_read": "cached_prompt", "image": "image",
             "input_cache_write": "cache_write", "internal_reasoning": "reasoning", "audio": "audio"}  # fmt: skip
    rates = {name: endpoint.price.rate(unit) for name, unit in names.items()}
    priced = {name: format_rate(rate) for name, rate in rates.items() if rate is not None}
    return {**priced, "request": format_rate(endpoint.price.request)}
