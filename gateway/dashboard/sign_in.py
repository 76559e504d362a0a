"""/login: by password and code, by passkey, or by a one-time link; /logout; /confirm, where somebody proves again who they are."""

import secrets
from typing import Any

import msgspec
from litestar import Response, get, post
from litestar.params import FromQuery

from gateway.dashboard.entering import NOT_LET_IN, client, enter, keep, said
from gateway.dashboard.form import Nothing, posted, posted_by_anybody
from gateway.dashboard.page import go, local, noticed, page
from gateway.dashboard.visitor import Plain, Visitor, cookie_name, found, visitor_of
from gateway.services import Services
from metering.money import now_ms
from policy import sessions
from policy.errors import SignInRefused
from policy.sessions import AGE_MS, TOKEN_BYTES
from policy.sign_in import Unconfirmed


class PasswordForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    email: str
    password: str
    next: str = ""


class CodeForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    half: str
    code: str
    next: str = ""


class PasskeyForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    answer: str
    challenge: str
    next: str = ""


class TokenForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    token: str


class ProofForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    password: str = ""
    code: str = ""
    answer: str = ""
    challenge: str = ""
    next: str = ""


@get("/login", include_in_schema=False)
async def show_login(request: Plain, next: FromQuery[str] = "") -> Response[str]:
    if await found(request):
        return go(local(next))
    return _login(request, next=next, notice=noticed(request))


@post("/login", include_in_schema=False)
async def sign_in(request: Plain) -> Response[str]:
    form = await posted_by_anybody(request, PasswordForm)
    at: Services = request.app.state.services
    try:
        entered = await at.people.door.authenticate(email=form.email, password=form.password, client=client(request), now=now_ms())
    except NOT_LET_IN as error:
        if isinstance(error, Unconfirmed):
            at.people.send(error.letter)
        return _login(request, next=form.next, email=form.email, **said(error))
    if entered.half is not None:
        return page("code.html", None, half=entered.half, next=form.next)
    return await enter(request, entered.person_id, next=form.next)


@post("/login/code", include_in_schema=False)
async def second_factor(request: Plain) -> Response[str]:
    form = await posted_by_anybody(request, CodeForm)
    at: Services = request.app.state.services
    try:
        entered = await at.people.door.second_factor(half=form.half, code=form.code, client=client(request), now=now_ms())
    except NOT_LET_IN as error:
        return page("code.html", None, half=form.half, next=form.next, **said(error))
    return await enter(request, entered.person_id, next=form.next)


@post("/login/passkey", include_in_schema=False)
async def use_passkey(request: Plain) -> Response[str]:
    form = await posted_by_anybody(request, PasskeyForm)
    try:
        person_id = await _of_passkey(request, form.answer, form.challenge)
    except NOT_LET_IN as error:
        return _login(request, next=form.next, **said(error))
    return await enter(request, person_id, next=form.next)


@get("/login/link", include_in_schema=False)
async def show_link(token: FromQuery[str] = "") -> Response[str]:
    """Looking at it uses nothing up: programs that read mail follow links."""
    text = "This link signs you in once."
    return page("one_button.html", None, title="Sign in", text=text, action="/login/link", token=token, button="Sign in")


@post("/login/link", include_in_schema=False)
async def use_link(request: Plain) -> Response[str]:
    form = await posted_by_anybody(request, TokenForm)
    at: Services = request.app.state.services
    try:
        entered = await at.people.door.use_link(token=form.token, now=now_ms())
    except NOT_LET_IN as error:
        return _login(request, next="", **said(error))
    return await enter(request, entered.person_id)


@post("/logout", include_in_schema=False)
async def sign_out(request: Plain) -> Response[str]:
    visitor, _ = await posted(request, None, Nothing)
    at: Services = request.app.state.services
    await at.database.write(sessions.end, visitor.visit.digest)
    response = go("/login", done="signed.out")
    keep(response, at, cookie_name(at), "", seconds=0)
    return response


@get("/confirm", include_in_schema=False)
async def show_confirm(request: Plain, next: FromQuery[str] = "") -> Response[str]:
    return _confirm(request, await visitor_of(request, None), next=next)


@post("/confirm", include_in_schema=False)
async def confirm(request: Plain) -> Response[str]:
    """The session goes on under a new token: the cookie from before the proof is worth nothing."""
    visitor, form = await posted(request, None, ProofForm)
    at: Services = request.app.state.services
    try:
        await _proven(request, visitor, form)
    except NOT_LET_IN as error:
        return _confirm(request, visitor, next=form.next, **said(error))
    token = secrets.token_urlsafe(TOKEN_BYTES)
    await at.database.write(sessions.renew, visitor.visit.digest, token=token, now=now_ms())
    response = go(local(form.next))
    keep(response, at, cookie_name(at), token, seconds=AGE_MS // 1000)
    return response


async def _proven(request: Plain, visitor: Visitor, form: ProofForm) -> None:
    at: Services = request.app.state.services
    if not form.answer:
        await at.people.changes.prove(visitor.person, password=form.password, code=form.code, client=client(request), now=now_ms())
    elif await _of_passkey(request, form.answer, form.challenge) != visitor.person.id:
        raise SignInRefused("This passkey belongs to another person.")


async def _of_passkey(request: Plain, answer: str, challenge: str) -> str:
    at: Services = request.app.state.services
    return await at.database.write(at.people.passkeys.authenticated, answer=answer, challenge=challenge, now=now_ms())


def _login(request: Plain, *, next: str, email: str = "", **more: Any) -> Response[str]:
    at: Services = request.app.state.services
    return page("login.html", None, next=next, email=email, passkey=_passkey(at), single_sign_on=at.people.single_sign_on, **more)


def _confirm(request: Plain, visitor: Visitor, *, next: str, **more: Any) -> Response[str]:
    at: Services = request.app.state.services
    return page("confirm.html", visitor, next=next, passkey=_passkey(at), **more)


def _passkey(at: Services) -> tuple[str, str] | None:
    """(options, challenge), where browsers have passkeys for these pages."""
    return at.people.passkeys.authentication(now=now_ms()) if at.people.passkeys.possible else None
