"""/signup and /link/verify: a new person, whose account opens when the address is confirmed with the link and the password."""

from typing import Any

import msgspec
from litestar import Response, get, post
from litestar.params import FromQuery

from gateway.dashboard.entering import NOT_LET_IN, client, enter, said
from gateway.dashboard.form import posted_by_anybody
from gateway.dashboard.page import go, local, page
from gateway.dashboard.visitor import Plain, found
from gateway.services import Services
from metering.money import now_ms
from policy.sign_in import LOOK


class SignUpForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    email: str
    password: str
    next: str = ""


class VerifyForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    token: str
    password: str
    next: str = ""


@get("/signup", include_in_schema=False)
async def show_sign_up(request: Plain, next: FromQuery[str] = "") -> Response[str]:
    if await found(request):
        return go(local(next))
    return _form(request, next=next)


@post("/signup", include_in_schema=False)
async def sign_up(request: Plain) -> Response[str]:
    """The same answer whether or not the address is known here; the mail says which."""
    form = await posted_by_anybody(request, SignUpForm)
    at: Services = request.app.state.services
    try:
        letter = await at.people.door.sign_up(email=form.email, password=form.password, client=client(request), now=now_ms())
    except NOT_LET_IN as error:
        return _form(request, next=form.next, email=form.email, **said(error))
    at.people.send(letter)
    return go("/verify")


@get("/verify", include_in_schema=False)
async def show_sent(request: Plain) -> Response[str]:
    return page("told.html", await found(request), title="Look into your mail", text=LOOK, onward=("/signup", "Sign up again"))


@get("/link/verify", include_in_schema=False)
async def show_verify(token: FromQuery[str] = "", next: FromQuery[str] = "") -> Response[str]:
    return page("verify.html", None, token=token, next=next)


@post("/link/verify", include_in_schema=False)
async def verify(request: Plain) -> Response[str]:
    form = await posted_by_anybody(request, VerifyForm)
    at: Services = request.app.state.services
    try:
        entered = await at.people.door.verify(token=form.token, password=form.password, client=client(request), now=now_ms())
    except NOT_LET_IN as error:
        return page("verify.html", None, token=form.token, next=form.next, **said(error))
    return await enter(request, entered.person_id, next=form.next, done="address.confirmed")


def _form(request: Plain, *, next: str, email: str = "", **more: Any) -> Response[str]:
    at: Services = request.app.state.services
    return page("signup.html", None, next=next, email=email, single_sign_on=at.people.single_sign_on, **more)
