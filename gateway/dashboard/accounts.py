"""Which account a person looks at, and what a person sees who is in none."""

import msgspec
from litestar import Response, get, post

from gateway.dashboard.form import posted
from gateway.dashboard.page import go, page
from gateway.dashboard.visitor import NoSuchPage, Plain, visitor_of
from gateway.services import Services
from policy import sessions


class AccountForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    account_id: str


@post("/dashboard/account", include_in_schema=False)
async def choose_account(request: Plain) -> Response[str]:
    visitor, form = await posted(request, None, AccountForm)
    at: Services = request.app.state.services
    if not await at.database.write(sessions.choose, visitor.visit.digest, form.account_id):
        raise NoSuchPage
    return go("/dashboard", done="account.chosen")


@get("/welcome", include_in_schema=False)
async def welcome(request: Plain) -> Response[str]:
    visitor = await visitor_of(request, None)
    return go("/dashboard") if visitor.visit.membership else page("welcome.html", visitor)
