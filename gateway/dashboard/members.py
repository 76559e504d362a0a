"""/dashboard/members: who belongs to the account and as what, invitations, and projects that group keys."""

import secrets
from functools import partial
from typing import Final

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath
from sqlmodel import Session

from gateway.dashboard.form import Nothing, posted
from gateway.dashboard.page import go, noticed, page
from gateway.dashboard.visitor import NoSuchPage, Plain, Visitor, visitor_of
from gateway.services import Services
from metering.money import now_ms
from policy import audit, budgets, invitations, links, members, people
from policy.audit import Deed
from policy.errors import InvalidField
from policy.letters import Letter
from policy.people_tables import AccountProfile, Link
from policy.tables import ROLES, Member, Project

HERE: Final = "/dashboard/members"
NAME_CHARACTERS_MAX: Final = 100


class RoleForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    role: str


class InviteForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    email: str
    role: str = "developer"


class NameForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str


@get(HERE, include_in_schema=False)
async def show_members(request: Plain) -> Response[str]:
    return await _shown(request, await visitor_of(request, "members.read"))


@post(f"{HERE}/invite", include_in_schema=False)
async def invite(request: Plain) -> Response[str]:
    """The link is also shown, for who has no mail server: it is good only for somebody who has confirmed that address."""
    visitor, form = await posted(request, "members.change", InviteForm)
    at: Services = request.app.state.services
    now, token, id = now_ms(), links.token(secrets.token_bytes), f"lnk_{secrets.token_hex(12)}"
    try:
        email = people.address(form.email)
        work = partial(
            invitations.invite, account_id=visitor.account_id, email=email, role=form.role, by=visitor.role,
            inviter=visitor.person.id, token=token, id=id, now=now,
        )  # fmt: skip
        await at.database.write(audit.noted, _deed(visitor, "member.invite", id, role=form.role), now, work)
    except InvalidField as error:
        return await _shown(request, visitor, problem=str(error), status=400)
    words = {"inviter": visitor.person.name or visitor.person.email, "account": visitor.membership.name, "role": form.role}
    at.people.send(Letter(kind="invite", to=email, token=token, words=words))
    return await _shown(request, visitor, link=f"{at.settings.origin}/link/invite?token={token}", email=email)


@post(f"{HERE}/invitations/{{id:str}}/withdraw", include_in_schema=False)
async def withdraw(request: Plain, id: FromPath[str]) -> Response[str]:
    visitor, _ = await posted(request, "members.change", Nothing)
    at: Services = request.app.state.services
    if not id.isprintable() or not await at.database.write(invitations.withdraw, visitor.account_id, id, now=now_ms()):
        raise NoSuchPage
    return go(HERE, done="invitation.withdrawn")


@post(f"{HERE}/{{member_id:str}}/role", include_in_schema=False)
async def change_role(request: Plain, member_id: FromPath[str]) -> Response[str]:
    visitor, form = await posted(request, "members.change", RoleForm)
    at: Services = request.app.state.services
    now, work = now_ms(), partial(members.change_role, account_id=visitor.account_id, member_id=member_id, role=form.role, by=visitor.role)
    if not member_id.isprintable() or not await at.database.write(
        audit.noted, _deed(visitor, "member.change", member_id, role=form.role), now, work, _is_there
    ):
        raise NoSuchPage
    return go(HERE, done="member.changed")


@post(f"{HERE}/{{member_id:str}}/remove", include_in_schema=False)
async def remove(request: Plain, member_id: FromPath[str]) -> Response[str]:
    visitor, _ = await posted(request, "members.change", Nothing)
    at: Services = request.app.state.services
    now = now_ms()
    work = partial(members.remove, account_id=visitor.account_id, member_id=member_id, by=visitor.role, now=now)
    if not member_id.isprintable() or not await at.database.write(
        audit.noted, _deed(visitor, "member.remove", member_id), now, work, _is_there
    ):
        raise NoSuchPage
    return go(HERE, done="member.removed")


@post(f"{HERE}/projects", include_in_schema=False)
async def make_project(request: Plain) -> Response[str]:
    visitor, form = await posted(request, "members.change", NameForm)
    at: Services = request.app.state.services
    now, id = now_ms(), f"prj_{secrets.token_hex(12)}"
    work = partial(budgets.add_project, id=id, account_id=visitor.account_id, name=form.name, now=now)
    try:
        await at.database.write(audit.noted, _deed(visitor, "project.create", id), now, work)
    except ValueError as error:
        return await _shown(request, visitor, problem=f"{error}.", status=400)
    return go(HERE, done="project.made")


@post(f"{HERE}/name", include_in_schema=False)
async def name_account(request: Plain) -> Response[str]:
    visitor, form = await posted(request, "account.change", NameForm)
    at: Services = request.app.state.services
    name = form.name.strip()
    if not 0 < len(name) <= NAME_CHARACTERS_MAX or not name.isprintable():
        return await _shown(request, visitor, problem=f"name: write 1 to {NAME_CHARACTERS_MAX} printable characters.", status=400)
    now = now_ms()
    work = partial(_set_name, account_id=visitor.account_id, name=name, now=now)
    await at.database.write(audit.noted, _deed(visitor, "profile.change", visitor.account_id), now, work)
    return go(HERE, done="account.named")


async def _shown(
    request: Plain, visitor: Visitor, *, problem: str | None = None, link: str | None = None, email: str | None = None, status: int = 200
) -> Response[str]:
    at: Services = request.app.state.services
    rows, waiting, projects = await at.database.read(_known, visitor.account_id, now=now_ms())
    grantable = [role for role in ROLES if role != "owner" or visitor.role == "owner"]
    return page(
        "members.html", visitor, status=status, here="members", notice=noticed(request), problem=problem, rows=rows, waiting=waiting,
        projects=projects, roles=[(role, role) for role in grantable], link=link, email=email,
    )  # fmt: skip


def _known(session: Session, account_id: str, *, now: int) -> tuple[list[Member], list[Link], list[Project]]:
    return members.listed(session, account_id), invitations.pending(session, account_id, now=now), budgets.projects(session, account_id)


def _set_name(session: Session, account_id: str, name: str, now: int) -> None:
    session.merge(AccountProfile(account_id=account_id, name=name, updated_at=now))
    session.flush()


def _deed(visitor: Visitor, action: audit.Action, subject: str, **change: str) -> Deed:
    return Deed(actor=visitor.actor, action=action, account_id=visitor.account_id, subject=subject, change=change or None)


def _is_there(member: Member | None) -> bool:
    return member is not None
