"""/dashboard/settings: who somebody is, how they sign in, where they are signed in, and which mails they want."""

from typing import Any, Final

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath

from gateway.dashboard import qr
from gateway.dashboard.entering import NOT_LET_IN, client, enter, keep, said
from gateway.dashboard.form import Nothing, posted
from gateway.dashboard.page import go, noticed, page
from gateway.dashboard.single_sign_on import issuer_of, pack
from gateway.dashboard.visitor import NoSuchPage, Plain, SignInFirst, Visitor, cookie_name, visitor_of
from gateway.dashboard.words import ZONES
from gateway.people import new_id
from gateway.services import Services
from metering.money import now_ms
from policy import passkeys, people, sessions, single_sign_on, totp

HERE: Final = "/dashboard/settings"


class ProfileForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str = ""
    time_zone: str = "UTC"
    theme: str = "system"


class MailsForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    news: bool = False


class PasswordForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    current: str
    password: str


class EmailForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    email: str


class CodeForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    code: str


class PasskeyForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    answer: str
    challenge: str
    name: str = ""


class IdForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str


@get(HERE, include_in_schema=False)
async def show_settings(request: Plain) -> Response[str]:
    return await _shown(request, await visitor_of(request, None))


@post(f"{HERE}/profile", include_in_schema=False)
async def set_profile(request: Plain) -> Response[str]:
    visitor, form = await posted(request, None, ProfileForm)
    at: Services = request.app.state.services
    values = msgspec.structs.asdict(form)
    try:
        await at.database.write(people.set_profile, visitor.person.id, **values, known_zones=ZONES, now=now_ms())
    except NOT_LET_IN as error:
        return await _shown(request, visitor, error=error)
    return go(HERE, done="profile.changed")


@post(f"{HERE}/mails", include_in_schema=False)
async def choose_mails(request: Plain) -> Response[str]:
    visitor, form = await posted(request, None, MailsForm)
    at: Services = request.app.state.services
    await at.database.write(people.consent, visitor.person.id, given=form.news, source="settings", id=new_id("con"), now=now_ms())
    return go(HERE, done="mails.changed")


@post(f"{HERE}/password", include_in_schema=False)
async def change_password(request: Plain) -> Response[str]:
    """Every session ends, also this one; a new one begins here."""
    visitor, form = await posted(request, None, PasswordForm)
    at: Services = request.app.state.services
    try:
        letter = await at.people.changes.change_password(
            visitor.person, current=form.current, password=form.password, client=client(request), now=now_ms()
        )
    except NOT_LET_IN as error:
        return await _shown(request, visitor, error=error)
    at.people.send(letter)
    return await enter(request, visitor.person.id, next=HERE, done="password.changed")


@post(f"{HERE}/email", include_in_schema=False)
async def change_email(request: Plain) -> Response[str]:
    visitor, form = await posted(request, None, EmailForm)
    _must_be_confirmed(visitor)
    at: Services = request.app.state.services
    try:
        letter = await at.people.changes.ask_for_email(visitor.person, email=form.email, client=client(request), now=now_ms())
    except NOT_LET_IN as error:
        return await _shown(request, visitor, error=error)
    at.people.send(letter)
    return go(HERE, done="email.asked")


@post(f"{HERE}/totp/begin", include_in_schema=False)
async def begin_totp(request: Plain) -> Response[str]:
    visitor, _ = await posted(request, None, Nothing)
    _must_be_confirmed(visitor)
    at: Services = request.app.state.services
    try:
        await at.people.changes.begin_totp(visitor.person.id)
    except NOT_LET_IN as error:
        return await _shown(request, visitor, error=error)
    return go(f"{HERE}#second-factor")


@post(f"{HERE}/totp/confirm", include_in_schema=False)
async def confirm_totp(request: Plain) -> Response[str]:
    """The rights of the session change, so it goes on as a new one; the others end."""
    visitor, form = await posted(request, None, CodeForm)
    at: Services = request.app.state.services
    try:
        letter = await at.people.changes.confirm_totp(visitor.person.id, code=form.code, now=now_ms())
    except NOT_LET_IN as error:
        return await _shown(request, visitor, error=error)
    at.people.send(letter)
    await at.database.write(sessions.end_all, visitor.person.id)
    return await enter(request, visitor.person.id, next=HERE, done="totp.on")


@post(f"{HERE}/totp/remove", include_in_schema=False)
async def remove_totp(request: Plain) -> Response[str]:
    visitor, _ = await posted(request, None, Nothing)
    _must_be_confirmed(visitor)
    at: Services = request.app.state.services
    at.people.send(await at.people.changes.remove_totp(visitor.person.id))
    return go(HERE, done="totp.off")


@post(f"{HERE}/passkeys", include_in_schema=False)
async def add_passkey(request: Plain) -> Response[str]:
    visitor, form = await posted(request, None, PasskeyForm)
    _must_be_confirmed(visitor)
    at: Services = request.app.state.services
    try:
        made = at.people.passkeys.registered(visitor.person.id, answer=form.answer, challenge=form.challenge, name=form.name, now=now_ms())
        await at.database.write(passkeys.add, made)
    except NOT_LET_IN as error:
        return await _shown(request, visitor, error=error)
    return go(HERE, done="passkey.added")


@post(f"{HERE}/passkeys/remove", include_in_schema=False)
async def remove_passkey(request: Plain) -> Response[str]:
    visitor, form = await posted(request, None, IdForm)
    _must_be_confirmed(visitor)
    at: Services = request.app.state.services
    if not form.id.isprintable() or not await at.database.write(passkeys.remove, visitor.person.id, form.id):
        raise NoSuchPage
    return go(HERE, done="passkey.removed")


@post(f"{HERE}/single-sign-on", include_in_schema=False)
async def connect(request: Plain) -> Response[str]:
    """A page with a link, because no form of ours may lead to another site."""
    visitor, _ = await posted(request, None, Nothing)
    _must_be_confirmed(visitor)
    at: Services = request.app.state.services
    issuer = issuer_of(at)
    try:
        journey = await issuer.depart(next=HERE, connecting=visitor.person.id)
    except NOT_LET_IN as error:
        return await _shown(request, visitor, error=error)
    response = page("connect.html", visitor, here="settings", address=journey.address, name=issuer.issuer.name)
    pack(response, at, journey)
    return response


@post(f"{HERE}/single-sign-on/remove", include_in_schema=False)
async def disconnect(request: Plain) -> Response[str]:
    visitor, form = await posted(request, None, IdForm)
    _must_be_confirmed(visitor)
    at: Services = request.app.state.services
    if not form.id.isprintable() or not await at.database.write(single_sign_on.disconnect, visitor.person.id, issuer=form.id):
        raise NoSuchPage
    return go(HERE, done="identity.removed")


@post(f"{HERE}/sessions/{{digest:str}}/end", include_in_schema=False)
async def end_session(request: Plain, digest: FromPath[str]) -> Response[str]:
    visitor, _ = await posted(request, None, Nothing)
    at: Services = request.app.state.services
    if not any(each.digest == digest for each in await at.database.read(sessions.listed, visitor.person.id, now=now_ms())):
        raise NoSuchPage
    await at.database.write(sessions.end, digest)
    return go(HERE, done="session.ended")


@post(f"{HERE}/sessions/end", include_in_schema=False)
async def end_sessions(request: Plain) -> Response[str]:
    """Everywhere, here too."""
    visitor, _ = await posted(request, None, Nothing)
    at: Services = request.app.state.services
    await at.database.write(sessions.end_all, visitor.person.id)
    response = go("/login", done="signed.out")
    keep(response, at, cookie_name(at), "", seconds=0)
    return response


def _must_be_confirmed(visitor: Visitor) -> None:
    """As `Visitor.must_be_confirmed`, coming back to the page of settings: its forms have addresses that only take a POST."""
    try:
        visitor.must_be_confirmed(now_ms())
    except SignInFirst:
        raise SignInFirst(HERE, "/confirm") from None


async def _shown(request: Plain, visitor: Visitor, *, error: Exception | None = None) -> Response[str]:
    at: Services = request.app.state.services
    return page(
        "settings.html", visitor, here="settings", notice=noticed(request), **(said(error) if error else {}),
        zones=[(zone, zone) for zone in sorted(ZONES)], themes=_THEMES, issuer=at.people.single_sign_on, **await _facts(at, visitor),
    )  # fmt: skip


async def _facts(at: Services, visitor: Visitor) -> dict[str, Any]:
    now, person = now_ms(), visitor.person
    mine = await at.database.read(passkeys.listed, person.id)
    pending = totp.pending(person, secrets=at.settings.secrets)
    address = totp.address(person, pending) if pending else ""
    return {
        "news": await at.database.read(people.wants_mails, person.id),
        "sessions": await at.database.read(sessions.listed, person.id, now=now),
        "identities": await at.database.read(single_sign_on.listed, person.id),
        "passkeys": mine,
        "registration": at.people.passkeys.registration(person, mine, now=now) if at.people.passkeys.possible else None,
        "pending": pending,
        "picture": qr.svg(address) if address else "",
    }


_THEMES: Final = (("system", "as the device"), ("light", "light"), ("dark", "dark"))
