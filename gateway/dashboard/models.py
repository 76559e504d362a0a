"""/models and a page per model: what can be used here, at which price, how quick it was lately, and what its providers do with prompts."""

from typing import Any, Final

from litestar import Response, get
from litestar.params import FromPath, FromQuery

from gateway.api.endpoints import model_endpoints
from gateway.api.model_filters import SORTS, filters
from gateway.api.offers import offers
from gateway.dashboard.page import page
from gateway.dashboard.visitor import NoSuchPage, Plain, found
from gateway.errors import BadRequest
from gateway.services import Services
from metering.money import format_rate

SHOWN_MAX: Final = 60
PER_MILLION: Final = 10**6
FILTERS: Final = ("q", "providers", "model_authors", "input_modalities", "region", "sort", "zdr")


@get("/models", include_in_schema=False)
async def show_models(request: Plain, start: FromQuery[int] = 0) -> Response[str]:
    """Filters stand in the address, by the names of `GET /v1/models`; an empty one is none."""
    at: Services = request.app.state.services
    given = {name: value for name in FILTERS if (value := request.query_params.get(name, "").strip())}
    problem = None
    try:
        kept: Any = await filters(request, request.app.state, output_modalities="all", **given)
        chosen = kept.chosen(offers(request.app.state), at)
    except BadRequest as error:
        problem, chosen = error.message, []
    start = max(0, min(start, len(chosen)))
    rows = [(each, _rates(each.endpoints[0])) for each in chosen[start : start + SHOWN_MAX]]
    companies = sorted({each.model.company for each in offers(request.app.state).values()})
    more = start + SHOWN_MAX
    return page(
        "models.html", await found(request), status=400 if problem else 200, problem=problem, rows=rows, given=given, total=len(chosen),
        start=start, more=more if more < len(chosen) else None, sorts=[("", "as listed"), *((s, s) for s in SORTS)],
        companies=[("", "any"), *((slug, slug) for slug in companies)],
    )  # fmt: skip


@get("/models/{company:str}/{name:str}", include_in_schema=False)
async def show_model(request: Plain, company: FromPath[str], name: FromPath[str]) -> Response[str]:
    at: Services = request.app.state.services
    try:
        model = model_endpoints(f"{company}/{name}", request.app.state)["data"]
    except BadRequest:
        raise NoSuchPage from None
    offer = offers(request.app.state).get(model["id"])
    if offer is None:
        raise NoSuchPage
    rows = [(endpoint, shown, _rates(endpoint)) for endpoint, shown in zip(offer.endpoints, model["endpoints"], strict=True)]
    return page("model.html", await found(request), model=offer.model, object=offer.object, rows=rows, origin=at.settings.origin)


def _rates(endpoint: Any) -> dict[str, str | None]:
    """USD per million tokens, exact; None where nothing is charged by itself."""
    price = endpoint.price
    units = ("prompt", "completion", "cached_prompt", "cache_write", "reasoning", "image", "audio")
    rates = {unit: None if (rate := price.rate(unit)) is None else format_rate(rate * PER_MILLION) for unit in units}
    return {**rates, "request": format_rate(price.request) if price.request else None}
