"""GET models and its likes: what can be used now, by filters and in pages, one model, and its endpoints. Public but for models/user."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from litestar import Request, get
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery

from gateway.api import query
from gateway.api.account import caller_of
from gateway.api.endpoints import model_endpoints
from gateway.api.model_filters import Filters, filters
from gateway.api.offers import Offer, named, offer, offers
from gateway.deprecation import day
from gateway.services import Services
from metering.money import now_ms
from policy.offered import offered

PAGE: Final = 500
PAGE_MAX: Final = 1000
OFFSET_MAX: Final = 10**6
ENDPOINTS: Final = "/endpoints"
Plain = Request[Any, Any, Any]
FILTERED: Final = {"wanted": Provide(filters)}


@get(["/v1/models", "/api/v1/models"], dependencies=FILTERED, summary="List the models that can be used now; all that answer with text")
async def list_models(
    request: Plain,
    state: State,
    wanted: NamedDependency[Filters],
    offset: FromQuery[str | None] = None,
    limit: FromQuery[str | None] = None,
) -> dict[str, Any]:
    return _page(request, wanted.chosen(offers(state), state.services), offset, limit)


@get(["/v1/models/count", "/api/v1/models/count"], dependencies=FILTERED, summary="How many models GET models lists in all")
async def count_models(state: State, wanted: NamedDependency[Filters]) -> dict[str, Any]:
    return {"data": {"count": len(wanted.chosen(offers(state), state.services))}}


@get(["/v1/models/user", "/api/v1/models/user"], dependencies=FILTERED, summary="The models that this key may use for a plain chat")
async def list_user_models(
    request: Plain,
    state: State,
    wanted: NamedDependency[Filters],
    offset: FromQuery[str | None] = None,
    limit: FromQuery[str | None] = None,
) -> dict[str, Any]:
    """By the account's rules and preferences and its own provider keys; the prices are those of the endpoints that are left."""
    at: Services = state.services
    caller = await caller_of(request, at)
    public = offers(state)
    allowed = offered(at.catalog, keys=at.provider_keys.keys(), rules=caller.rules, own_keys=caller.own_keys, today=day(now_ms()))
    theirs: dict[str, Offer] = {}
    for model, endpoints in allowed:
        known = public.get(model.id)
        theirs[model.id] = known if known and known.endpoints == endpoints else offer(model, endpoints)
    return _page(request, wanted.chosen(theirs, at), offset, limit)


@get(["/v1/embeddings/models", "/api/v1/embeddings/models"], summary="The models that answer with embeddings")
async def list_embeddings_models(
    request: Plain, state: State, offset: FromQuery[str | None] = None, limit: FromQuery[str | None] = None
) -> dict[str, Any]:
    found = [each for each in offers(state).values() if "embeddings" in each.model.output_modalities]
    return _page(request, found, offset, limit)


@get(["/v1/models/{id:path}", "/api/v1/models/{id:path}"], summary="One model; the slash of its id plain or escaped")
async def get_model(state: State, id: FromPath[str]) -> Mapping[str, Any]:
    """The path takes whatever follows, as ids contain slashes: `{id}/endpoints` comes here too, unless a model is called that."""
    name = str(id).lstrip("/")
    if name.endswith(ENDPOINTS) and name not in offers(state):
        return model_endpoints(name.removesuffix(ENDPOINTS), state)
    return named(name, state).object


@get(["/v1/model/{id:path}", "/api/v1/model/{id:path}"], summary="One model, as `data`")
async def get_model_data(state: State, id: FromPath[str]) -> dict[str, Any]:
    return {"data": named(str(id), state).json}


def _page(request: Plain, found: list[Offer], offset: str | None, limit: str | None) -> dict[str, Any]:
    """All of them without `offset` and `limit`; `links.next` is the path of the next page, null on the last one."""
    first = query.whole(offset, "offset", least=0, most=OFFSET_MAX)
    size = query.whole(limit, "limit", least=1, most=PAGE_MAX)
    total, following = len(found), None
    if first is not None or size is not None:
        first, size = first or 0, size or PAGE
        if first + size < total:
            others = [(name, text) for name, text in request.query_params.multi_items() if name not in ("offset", "limit")]
            following = f"{request.scope['path']}?{urlencode([*others, ('offset', first + size), ('limit', size)])}"
        found = found[first : first + size]
    return {"object": "list", "data": [each.json for each in found], "total_count": total, "links": {"next": following}}
