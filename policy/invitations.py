"""Invitations to an account: a link to one address, for one role, good for seven days; who takes it must have confirmed that address."""

from collections.abc import Callable
from typing import Final

import sqlalchemy
from sqlmodel import Session, col, select

from policy import audit, links, members, sessions
from policy.audit import Deed
from policy.errors import Forbidden, InvalidField
from policy.links import NewLink
from policy.people_tables import Link, Person
from policy.tables import Member

PENDING_MAX: Final = 50


def invite(session: Session, account_id: str, *, email: str, role: str, by: str, inviter: str, token: str, id: str, now: int) -> None:
    """`email` as of `people.address`. InvalidField: a member already, or too many wait; Forbidden: a role that `by` may not give."""
    members.check_grant(by, role)
    if session.exec(select(Member.id).where(Member.account_id == account_id, Member.email == email)).first() is not None:
        raise InvalidField("email", "is a member of this account already")
    if len(pending(session, account_id, now=now)) >= PENDING_MAX:
        raise InvalidField("email", f"{PENDING_MAX} invitations are waiting; withdraw one first")
    new = NewLink(purpose="invite", email=email, account_id=account_id, role=role, invited_by=inviter)
    if not links.make(session, new, token=token, id=id, now=now):
        raise InvalidField("email", "was invited several times in the last hour; wait until they look")


def pending(session: Session, account_id: str, *, now: int) -> list[Link]:
    waiting = select(Link).where(
        Link.account_id == account_id, Link.purpose == "invite", col(Link.used_at).is_(None), Link.expires_at > now
    )
    return list(session.exec(waiting.order_by(col(Link.created_at)).limit(PENDING_MAX)))


def withdraw(session: Session, account_id: str, id: str, *, now: int) -> bool:
    mine = (col(Link.account_id) == account_id, col(Link.id) == id, col(Link.purpose) == "invite", col(Link.used_at).is_(None))
    return session.connection().execute(sqlalchemy.update(Link).where(*mine).values(used_at=now)).rowcount == 1


def accept(session: Session, token: str, person: Person, *, new_id: Callable[[str], str], now: int) -> str | None:
    """The account's id; None for a link that is used or over. Forbidden for somebody of another address, or an unconfirmed one."""
    link = links.look(session, token, "invite", now=now)
    if link is None or link.account_id is None or link.role is None:
        return None
    if person.verified_at is None or person.email != link.email:
        raise Forbidden("This invitation is for another address: sign in with the address that it was sent to, once that is confirmed.")
    if links.use(session, token, "invite", now=now) is None:
        return None
    taken = select(Member).where(Member.account_id == link.account_id, Member.person_id == person.id)
    if session.exec(taken).first() is None:
        id = new_id("mem")
        row = Member(id=id, account_id=link.account_id, email=person.email, role=link.role, person_id=person.id, created_at=now)
        session.add(row)
        session.flush()
        deed = Deed(actor=person.id, action="member.add", account_id=link.account_id, subject=id, change={"role": link.role})
        audit.record(session, deed, now=now)
    return link.account_id


def account_of(session: Session, link: Link) -> str:
    """What the inviting account is called."""
    return sessions.account_name(session, link.account_id or "")
