"""A model and an endpoint as clients see them: OpenRouter's superset of OpenAI's model object, and its endpoint object with our facts.

What is not known is null. The health figures are those of the last five minutes that this process knows, so they stand in the fields
for thirty minutes too, and the longer uptimes are null.
"""

import datetime
from typing import Any, Final

from metering.money import format_rate
from policy import parameters
from policy.facts import regions
from policy.stats import Percentiles, Stats
from providers.catalog import Catalog
from providers.provider import DataPolicy, Endpoint, Model

MS_PER_SECOND: Final = 1000
WORKS, FAILED_LATELY, EJECTED, KEY_REFUSED = 0, -1, -2, -3
"""`status`: -1 it failed within the last 30 s and has not answered since, -2 left out for a while, -3 it refuses the operator's key."""


def model_object(model: Model, endpoints: tuple[Endpoint, ...]) -> dict[str, Any]:
    """`pricing` and `top_provider` are those of the first endpoint; `expiration_date` is the last day on which the model is offered."""
    first = endpoints[0]
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
        "architecture": architecture(model, endpoints),
        "pricing": pricing(first),
        "top_provider": {"context_length": first.context_length, "max_completion_tokens": first.max_output_tokens, "is_moderated": False},
        "per_request_limits": None,
        "supported_parameters": sorted(frozenset[str]().union(*(parameters.supported(endpoint) for endpoint in endpoints))),
        "default_parameters": None,
        "supported_voices": None,
        "knowledge_cutoff": None,
        "expiration_date": model.deprecated.isoformat() if model.deprecated else None,
        "successor": model.successor,
        "data_policy": policies(endpoints),
        "links": {"details": f"/api/v1/models/{model.id}/endpoints"},
    }


def architecture(model: Model, endpoints: tuple[Endpoint, ...]) -> dict[str, Any]:
    inputs = input_modalities(model, endpoints)
    return {
        "modality": f"{'+'.join(inputs)}->{'+'.join(model.output_modalities)}",
        "input_modalities": inputs,
        "output_modalities": list(model.output_modalities),
        "tokenizer": model.tokenizer,
        "instruct_type": None,
    }


def input_modalities(model: Model, endpoints: tuple[Endpoint, ...]) -> list[str]:
    images = "image" not in model.input_modalities and any("images" in endpoint.capabilities for endpoint in endpoints)
    return [*model.input_modalities, *(["image"] if images else [])]


def policies(endpoints: tuple[Endpoint, ...]) -> dict[str, Any]:
    """Of how many endpoints it is known that they do not train on prompts, and that they keep nothing; `regions`: where any may process."""
    found = [endpoint.data_policy for endpoint in endpoints]
    return {
        "endpoints": len(endpoints),
        "not_training": sum(policy.trains is False for policy in found),
        "zdr": sum(policy.zdr for policy in found),
        "regions": sorted(frozenset[str]().union(*(regions(endpoint) for endpoint in endpoints))),
    }


def pricing(endpoint: Endpoint) -> dict[str, str]:
    """USD per token (`request`: each) as decimal text; rates that fall back are shown as what would be charged."""
    names = {"prompt": "prompt", "completion": "completion", "input_cache_read": "cached_prompt", "image": "image",
             "input_cache_write": "cache_write", "internal_reasoning": "reasoning", "audio": "audio"}  # fmt: skip
    rates = {name: endpoint.price.rate(unit) for name, unit in names.items()}
    priced = {name: format_rate(rate) for name, rate in rates.items() if rate is not None}
    return {**priced, "request": format_rate(endpoint.price.request)}


def endpoint_object(endpoint: Endpoint, stats: Stats, catalog: Catalog) -> dict[str, Any]:
    """`tag` and `id` both stand for the endpoint in `provider.order`, `only` and `ignore`."""
    price, tools = endpoint.price, "tools" in endpoint.capabilities
    return {
        "id": endpoint.id,
        "name": f"{endpoint.provider.name} | {endpoint.model.id}",
        "tag": endpoint.provider.slug,
        "model_id": endpoint.model.id,
        "model_name": endpoint.model.name,
        "provider_name": endpoint.provider.name,
        "context_length": endpoint.context_length,
        "max_prompt_tokens": None,
        "max_completion_tokens": endpoint.max_output_tokens,
        "quantization": endpoint.quantization,
        "pricing": {**pricing(endpoint), "discount": 0},
        "supported_parameters": sorted(parameters.supported(endpoint)),
        "supports_implicit_caching": price.cached_prompt is not None and price.cache_write is None,
        "supports_tool_choice": dict.fromkeys(("auto", "function", "none", "required"), tools),
        "supports_diarization": False,
        "supports_voice_cloning": False,
        "native_tools": {},
        "service_tier": None,
        "status": _status(stats),
        "uptime_last_5m": None if stats.uptime is None else round(stats.uptime * 100, 3),
        "uptime_last_30m": None,
        "uptime_last_1d": None,
        "latency_last_30m": _percentiles(stats.latency, MS_PER_SECOND),
        "throughput_last_30m": _percentiles(stats.throughput, 1),
        "region": sorted(regions(endpoint)) or None,
        "data_policy": policy_object(endpoint.data_policy, catalog, _policy_row(endpoint)),
    }


def policy_object(policy: DataPolicy, catalog: Catalog, row: tuple[str, str]) -> dict[str, Any]:
    """With where and when it was read: `row` is the table and the id of the catalog's row that says it."""
    sourced = catalog.rows.get(row)
    date: datetime.date | None = sourced.row.date if sourced else None
    return {
        "trains": policy.trains,
        "retention_days": policy.retention_days,
        "zdr": policy.zdr,
        "source": sourced.row.source if sourced else None,
        "date": date.isoformat() if date else None,
    }


def _policy_row(endpoint: Endpoint) -> tuple[str, str]:
    return ("provider", endpoint.provider.slug) if endpoint.own_data_policy is None else ("endpoint", endpoint.id)


def _status(stats: Stats) -> int:
    if stats.key_refused:
        return KEY_REFUSED
    if stats.ejected:
        return EJECTED
    return FAILED_LATELY if stats.outage else WORKS


def _percentiles(found: Percentiles | None, factor: int) -> dict[str, float] | None:
    if found is None:
        return None
    return {name: round(getattr(found, name) * factor, 3) for name in found.__struct_fields__}
