"""GET providers: who serves models here, and what is known of what they do with prompts. Public, no key needed."""

from typing import Any

from litestar import get
from litestar.datastructures import State

from gateway.api.model_object import policy_object
from gateway.services import Services
from providers.catalog import Catalog
from providers.provider import Provider


@get(["/v1/providers", "/api/v1/providers"], summary="The providers of the catalog and their data policies")
async def list_providers(state: State) -> dict[str, Any]:
    at: Services = state.services
    providers = sorted(at.catalog.providers.values(), key=lambda provider: provider.slug)
    return {"data": [provider_object(provider, at.catalog) for provider in providers]}


def provider_object(provider: Provider, catalog: Catalog) -> dict[str, Any]:
    """OpenRouter's provider object and our `region` and `data_policy`; unknown = null, which routing treats as the worst."""
    return {
        "name": provider.name,
        "slug": provider.slug,
        "privacy_policy_url": provider.privacy_policy_url or None,
        "terms_of_service_url": provider.terms_of_service_url or None,
        "status_page_url": provider.status_page_url or None,
        "headquarters": provider.headquarters or None,
        "datacenters": list(provider.datacenters) or None,
        "region": sorted(provider.region) or None,
        "data_policy": policy_object(provider.data_policy, catalog, ("provider", provider.slug)),
    }
