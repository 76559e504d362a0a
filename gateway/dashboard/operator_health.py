"""/operator/health, /operator/ledger, /operator/audit: how the providers do, whether the books are right, and who changed what."""

import time
from typing import Final

from litestar import Response, get, post
from litestar.params import FromQuery

from gateway.dashboard.form import Nothing, posted_by_operator
from gateway.dashboard.page import page
from gateway.dashboard.visitor import Plain, operator_of
from gateway.services import Services
from metering import verify
from metering.money import now_ms
from policy import audit

NEWEST: Final = 2**62


@get("/operator/health", include_in_schema=False)
async def show_health(request: Plain) -> Response[str]:
    """What this process knows of the last five minutes."""
    visitor = await operator_of(request)
    at: Services = request.app.state.services
    usable = [e for e in at.catalog.every_endpoint() if not e.provider.api_key_env or e.provider.api_key_env in at.provider_keys]
    rows = sorted(((endpoint, at.health.stats(endpoint.id)) for endpoint in usable), key=lambda row: (row[1].uptime is None, row[0].id))
    return page("operator_health.html", visitor, here="operator", rows=rows, ejections=dict(at.health.ejections))


@get("/operator/ledger", include_in_schema=False)
async def show_ledger(request: Plain) -> Response[str]:
    return page("operator_ledger.html", await operator_of(request), here="operator", checks=None, seconds=None)


@post("/operator/ledger", include_in_schema=False)
async def verify_ledger(request: Plain) -> Response[str]:
    """Reads all the books in one snapshot, as `tollway ledger verify` does."""
    visitor, _ = await posted_by_operator(request, Nothing)
    at: Services = request.app.state.services
    began = time.perf_counter()
    checks = await at.database.read(verify.verify, now=now_ms())
    return page("operator_ledger.html", visitor, here="operator", checks=checks, seconds=f"{time.perf_counter() - began:.1f}")


@get("/operator/audit", include_in_schema=False)
async def show_audit(request: Plain, account: FromQuery[str] = "", before: FromQuery[int] = NEWEST) -> Response[str]:
    visitor = await operator_of(request)
    at: Services = request.app.state.services
    account = account.strip()[:100] if account.isprintable() else ""
    rows = await at.database.read(audit.newest, before=max(0, min(before, NEWEST)), account_id=account or None)
    more = rows[-1].seq if len(rows) == audit.SHOWN else None
    return page("operator_audit.html", visitor, here="operator", rows=rows, account=account, more=more)
