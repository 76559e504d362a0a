"""Pages of links that were mailed: a new password, a new address, an invitation, no more mails. Looking changes nothing; a button does."""

from typing import Final
from urllib.parse import quote, urlencode

import msgspec
from litestar import Response, get, post
from litestar.params import FromQuery
from sqlmodel import Session

from gateway.dashboard.entering import NOT_LET_IN, client, said, unlucky
from gateway.dashboard.form import posted, posted_by_anybody
from gateway.dashboard.page import go, page
from gateway.dashboard.visitor import Plain, found
from gateway.letters import unsubscriber
from gateway.people import new_id
from gateway.services import Services
from metering.money import now_ms
from policy import invitations, links, people, sessions
from policy.errors import SignInRefused
from policy.people_tables import Link
from policy.sign_in import GONE, LOOK

INVITE: Final = "/link/invite"


class EmailForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    email: str


class NewPasswordForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    token: str
    password: str


class TokenForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    token: str


@get("/reset", include_in_schema=False)
async def show_reset(request: Plain) -> Response[str]:
    return page("reset.html", await found(request))


@post("/reset", include_in_schema=False)
async def ask_for_reset(request: Plain) -> Response[str]:
    form = await posted_by_anybody(request, EmailForm)
    at: Services = request.app.state.services
    try:
        letter = await at.people.door.ask_for_reset(email=form.email, client=client(request), now=now_ms())
    except NOT_LET_IN as error:
        return page("reset.html", None, **said(error))
    at.people.send(letter)
    return page("told.html", None, title="Look into your mail", text=LOOK, onward=("/reset", "Ask again"))


@get("/link/reset", include_in_schema=False)
async def show_new_password(token: FromQuery[str] = "") -> Response[str]:
    return page("new_password.html", None, token=token)


@post("/link/reset", include_in_schema=False)
async def set_new_password(request: Plain) -> Response[str]:
    form = await posted_by_anybody(request, NewPasswordForm)
    at: Services = request.app.state.services
    try:
        letter = await at.people.door.reset(token=form.token, password=form.password, now=now_ms())
    except NOT_LET_IN as error:
        return page("new_password.html", None, token=form.token, **said(error))
    at.people.send(letter)
    return go("/login", done="password.changed")


@get("/link/email", include_in_schema=False)
async def show_new_email(request: Plain, token: FromQuery[str] = "") -> Response[str]:
    text = "From now on you sign in with the address that this link was sent to."
    return page(
        "one_button.html",
        None,
        title="Confirm your new address",
        text=text,
        action="/link/email",
        token=token,
        button="Confirm the address",
    )


@post("/link/email", include_in_schema=False)
async def take_email(request: Plain) -> Response[str]:
    form = await posted_by_anybody(request, TokenForm)
    at: Services = request.app.state.services
    try:
        letter = await at.people.changes.take_email(token=form.token, now=now_ms())
    except NOT_LET_IN as error:
        return unlucky(await found(request), error)
    at.people.send(letter)
    return go("/dashboard/settings" if await found(request) else "/login", done="email.changed")


@get(INVITE, include_in_schema=False)
async def show_invitation(request: Plain, token: FromQuery[str] = "") -> Response[str]:
    """Who is not signed in is led there first, and comes back."""
    visitor, at = await found(request), request.app.state.services
    link, name = await at.database.read(_invitation, token, now=now_ms())
    if link is None:
        return unlucky(visitor, SignInRefused(GONE))
    text = f"You are invited to the account {name} as {link.role}."
    if visitor is None:
        back = urlencode({"next": f"{INVITE}?token={quote(token)}"})
        return page("invited.html", None, text=text, email=link.email, back=back)
    return page("one_button.html", visitor, title="You are invited", text=text, action=INVITE, token=token, button="Join the account")


@post(INVITE, include_in_schema=False)
async def accept(request: Plain) -> Response[str]:
    visitor, form = await posted(request, None, TokenForm)
    at: Services = request.app.state.services
    account_id = await at.database.write(invitations.accept, form.token, visitor.person, new_id=new_id, now=now_ms())
    if account_id is None:
        return unlucky(visitor, SignInRefused(GONE))
    await at.database.write(sessions.choose, visitor.visit.digest, account_id)
    return go("/dashboard", done="invitation.accepted")


@get("/unsubscribe", include_in_schema=False)
async def show_unsubscribe(token: FromQuery[str] = "") -> Response[str]:
    text = "You get no more mails from us but those about the security and the bills of your account."
    return page(
        "one_button.html",
        None,
        title="No more mails",
        text=text,
        action=f"/unsubscribe?token={quote(token)}",
        token="",
        button="Unsubscribe",
    )


@post("/unsubscribe", include_in_schema=False)
async def unsubscribe(request: Plain, token: FromQuery[str] = "") -> Response[str]:
    """Also what a mail program posts by itself (RFC 8058): the token alone says who it is, and can do nothing else."""
    at: Services = request.app.state.services
    person_id = unsubscriber(token, secrets=at.settings.secrets)
    if person_id is None:
        return page("error.html", None, status=400, title="That did not work", text="This is no link of ours: part of it may be missing.")
    await at.database.write(people.consent, person_id, given=False, source="unsubscribe", id=new_id("con"), now=now_ms())
    return page("told.html", None, title="No more mails", text="You are unsubscribed.", onward=("/", "To the start"))


def _invitation(session: Session, token: str, *, now: int) -> tuple[Link | None, str]:
    link = links.look(session, token, "invite", now=now)
    return link, invitations.account_of(session, link) if link else ""
