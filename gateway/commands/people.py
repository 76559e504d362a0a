"""`tollway person`: who signs in; blocking and unblocking, making operators, and a one-time link for the first of them."""

from collections.abc import Callable
from functools import partial
from secrets import token_bytes
from typing import Any

import click
from sqlmodel import Session

from gateway.commands.running import Json, migrated, new_id, run, show, show_rows
from gateway.settings import Settings
from metering.money import now_ms
from policy import audit, links, people
from policy.audit import OPERATOR, Action, Deed
from policy.links import LIFETIMES_MS, NewLink
from policy.people_tables import Person

Email = click.option("--email", required=True, help="The person's address.")
MINUTE_MS = 60_000


@click.group()
def person() -> None:
    """People who sign in."""


@person.command("list")
@Json
def person_list(as_json: bool) -> None:
    """List the people, oldest first."""
    show_rows(run(list_people), as_json)


@person.command("block")
@Email
@Json
def person_block(email: str, as_json: bool) -> None:
    """Sign somebody out everywhere and let them in nowhere. The API keys of their accounts go on."""
    show(run(change, email=email, action="person.block", work=people.block), as_json)


@person.command("unblock")
@Email
@Json
def person_unblock(email: str, as_json: bool) -> None:
    """Let somebody in again."""
    show(run(change, email=email, action="person.unblock", work=people.unblock), as_json)


@person.command("operator")
@Email
@click.option("--remove", is_flag=True, help="No longer.")
@Json
def person_operator(email: str, remove: bool, as_json: bool) -> None:
    """Let somebody use the operator's pages: all accounts, credit, health, the audit log. They sign in anew."""
    work = partial(people.make_operator, operator=not remove)
    show(run(change, email=email, action="person.operator", work=work, change={"operator": not remove}), as_json)


@person.command("sign-in-link")
@Email
@Json
def person_link(email: str, as_json: bool) -> None:
    """Print a link that signs somebody in once, within ten minutes. Who does not exist yet is made, with an account."""
    made = run(sign_in_link, email=email)
    if as_json:
        show(made, as_json)
    else:
        click.echo(made["link"])


async def list_people(settings: Settings) -> list[dict[str, Any]]:
    shown, after = [], ""
    async with migrated(settings) as database:
        while rows := await database.read(people.page, after=after):
            shown += [_shown(row) for row in rows]
            after = rows[-1].id
    return shown


async def change(
    settings: Settings, *, email: str, action: Action, work: Callable[..., None], change: dict[str, Any] | None = None
) -> dict[str, Any]:
    """ValueError if there is no such person."""
    now = now_ms()

    def work_on(session: Session) -> dict[str, Any]:
        found = people.by_email(session, people.address(email, field="--email"))
        if found is None:
            raise ValueError("there is no person of this address")
        work(session, found, now=now)
        audit.record(session, Deed(actor=OPERATOR, action=action, account_id="", subject=found.id, change=change), now=now)
        return _shown(found)

    async with migrated(settings) as database:
        return await database.write(work_on)


async def sign_in_link(settings: Settings, *, email: str) -> dict[str, Any]:
    """ValueError if the person is blocked."""
    async with migrated(settings) as database:
        return await database.write(make_link, email=email, origin=settings.origin, now=now_ms())


def make_link(session: Session, *, email: str, origin: str, now: int) -> dict[str, Any]:
    person = people.vouched_for(session, people.address(email, field="--email"), new_id=new_id, now=now)
    if person.blocked_at is not None:
        raise ValueError("this person is blocked; see tollway person unblock")
    token = links.token(token_bytes)
    new = NewLink(purpose="sign_in", email=person.email, person_id=person.id)
    links.put(session, new, token=token, id=new_id("lnk"), now=now)
    audit.record(session, Deed(actor=OPERATOR, action="person.link", account_id="", subject=person.id), now=now)
    minutes = LIFETIMES_MS["sign_in"] // MINUTE_MS
    return {"person_id": person.id, "link": f"{origin}/login/link?token={token}", "minutes": minutes}


def _shown(row: Person) -> dict[str, Any]:
    names = ("id", "email", "name", "verified_at", "totp_since", "operator", "blocked_at", "created_at")
    return {name: getattr(row, name) for name in names}
