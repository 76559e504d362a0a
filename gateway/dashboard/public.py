"""Pages for everybody: the landing page, how to begin, what is kept of whom, who else gets data, and whether it works."""

from typing import Final

from litestar import Response, get

from gateway import subprocessors
from gateway.api.offers import offers
from gateway.cookies import cookies
from gateway.dashboard.page import noticed, page
from gateway.dashboard.visitor import Plain, found
from gateway.deprecation import day
from gateway.services import Services
from metering.money import now_ms
from policy import retention
from policy.privacy import DEFAULT

EXAMPLE: Final = "tollway/echo"


@get("/", include_in_schema=False)
async def show_landing(request: Plain) -> Response[str]:
    at: Services = request.app.state.services
    usable = offers(request.app.state)
    providers = {endpoint.provider.slug for each in usable.values() for endpoint in each.endpoints}
    return page(
        "landing.html", await found(request), notice=noticed(request), models=len(usable), providers=len(providers),
        origin=at.settings.origin, model=EXAMPLE,
    )  # fmt: skip


@get("/docs", include_in_schema=False)
async def show_docs(request: Plain) -> Response[str]:
    at: Services = request.app.state.services
    return page("docs.html", await found(request), origin=at.settings.origin, model=EXAMPLE)


@get("/rankings", include_in_schema=False)
async def show_rankings(request: Plain) -> Response[str]:
    return page("rankings.html", await found(request))


@get("/privacy", include_in_schema=False)
async def show_policy(request: Plain) -> Response[str]:
    """Made from the settings and the code's own tables, so that it says what is done."""
    at: Services = request.app.state.services
    return page(
        "privacy_policy.html", await found(request), default=DEFAULT, categories=retention.CATEGORIES, lifetimes=retention.LIFETIMES,
        cookies=cookies().cookie, settings=at.settings,
    )  # fmt: skip


@get("/subprocessors", include_in_schema=False)
async def show_subprocessors(request: Plain) -> Response[str]:
    at: Services = request.app.state.services
    listed = subprocessors.subprocessors(at.catalog, at.settings, keys=at.provider_keys.keys(), today=day(now_ms()))
    return page("subprocessors.html", await found(request), listed=listed)


@get("/status", include_in_schema=False)
async def show_status(request: Plain) -> Response[str]:
    """Of this process, now: it answers only while its database does."""
    at: Services = request.app.state.services
    await at.database.ping()
    rows = []
    for each in offers(request.app.state).values():
        stats = [at.health.stats(endpoint.id) for endpoint in each.endpoints]
        working = sum(not (one.ejected or one.outage or one.key_refused) for one in stats)
        rows.append((each.model, working, len(stats)))
    rows.sort(key=lambda row: (row[1] == row[2], row[0].id))
    return page("status.html", await found(request), rows=rows[:200], degraded=[row for row in rows if row[1] < row[2]], total=len(rows))
