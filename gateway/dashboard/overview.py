"""/dashboard: the balance, what was spent today and this month, requests, errors, how quick the answers were, what came last."""

from litestar import Response, get

from gateway.dashboard.page import noticed, page
from gateway.dashboard.visitor import Plain, visitor_of


@get("/dashboard", include_in_schema=False)
async def show_overview(request: Plain) -> Response[str]:
    visitor = await visitor_of(request, "usage.read")
    return page("overview.html", visitor, here="overview", notice=noticed(request))
