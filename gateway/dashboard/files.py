"""The files of /dashboard/billing: the statement and the usage of a month, and the proof that nobody changed the ledger."""

from typing import Final

from litestar import get
from litestar.params import FromQuery
from litestar.types import ASGIApp

from gateway.api import ledger as ledger_api
from gateway.dashboard.billing import HERE, month_of
from gateway.dashboard.visitor import Plain, visitor_of
from gateway.download import Download
from gateway.errors import BadRequest
from gateway.export_formats import MEDIA_TYPES
from gateway.services import Services
from gateway.statement_export import statement_export
from gateway.usage_export import BY, FORMATS, usage_export
from metering import seal, sealer

PROOF: Final = "application/x-ndjson"


@get(f"{HERE}/statement", include_in_schema=False)
async def download_statement(request: Plain, month: FromQuery[str] = "", format: FromQuery[str] = "csv") -> ASGIApp:
    visitor = await visitor_of(request, "billing.read")
    at: Services = request.app.state.services
    start, end = month_of(month)
    _one_of("format", format, FORMATS)
    chunks = statement_export(at.database, visitor.account_id, start=start, end=end, format=format)
    return Download(
        chunks, media_type=MEDIA_TYPES[format], file_name=f"tollway-statement-{month}.{format}", stall_seconds=at.settings.idle_seconds
    )


@get(f"{HERE}/usage/export", include_in_schema=False)
async def download_usage(
    request: Plain, month: FromQuery[str] = "", format: FromQuery[str] = "csv", by: FromQuery[str] = "generation"
) -> ASGIApp:
    visitor = await visitor_of(request, "billing.read")
    at: Services = request.app.state.services
    start, end = month_of(month)
    _one_of("format", format, FORMATS)
    _one_of("by", by, tuple(BY))
    chunks = usage_export(at.database, visitor.account_id, start=start, end=end, format=format, by=by)
    return Download(
        chunks, media_type=MEDIA_TYPES[format], file_name=f"tollway-usage-{month}.{format}", stall_seconds=at.settings.idle_seconds
    )


@get(f"{HERE}/proof", include_in_schema=False)
async def download_proof(request: Plain) -> ASGIApp:
    """As GET /v1/ledger/proof: what nobody has sealed yet is sealed first, so that the proof is up to date."""
    visitor = await visitor_of(request, "billing.read")
    at: Services = request.app.state.services
    unsealed = await ledger_api.seal_newest(at.database, visitor.account_id, rows_max=sealer.rows_max(at.settings.database_url))
    after = await at.database.read(seal.head_at, visitor.account_id, 0)
    assert after is not None  # every chain has a beginning
    lines = ledger_api.proof(at.database, at.notary, visitor.account_id, after=after, unsealed=unsealed)
    return Download(lines, media_type=PROOF, file_name=f"tollway-proof-{visitor.account_id}.jsonl", stall_seconds=at.settings.idle_seconds)


def _one_of(param: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise BadRequest(f"{param}: write {', '.join(allowed[:-1])} or {allowed[-1]}.", param=param)
