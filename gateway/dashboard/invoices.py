"""/dashboard/billing/invoices/{credit_id}: the invoice of a paid credit, as a page that prints well."""

from litestar import Response, get
from litestar.params import FromPath

from gateway.dashboard.page import page
from gateway.dashboard.visitor import NoSuchPage, Plain, visitor_of
from gateway.services import Services
from metering import invoices


@get("/dashboard/billing/invoices/{credit_id:str}", include_in_schema=False)
async def show_invoice(request: Plain, credit_id: FromPath[str]) -> Response[str]:
    visitor = await visitor_of(request, "billing.read")
    at: Services = request.app.state.services
    found = await at.database.read(invoices.find, visitor.account_id, credit_id) if credit_id.isprintable() else None
    if found is None:
        raise NoSuchPage
    return page("invoice.html", visitor, here="billing", invoice=found, seller=at.settings.invoice_from)
