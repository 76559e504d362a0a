"""People of an account. The one who opened it is its owner; there is always one, and whoever's rights change must sign in again."""

import re

from sqlmodel import Session, col, select

from metering import ledger
from policy import keys, sessions
from policy.errors import Forbidden
from policy.tables import ROLES, Key, Member

_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,190}")


def check_email(email: str) -> None:
    """ValueError unless it looks like an address; whether it receives mail is for verification to find out."""
    if _EMAIL.fullmatch(email) is None:
        raise ValueError(f"{email[:80]!r} is not an e-mail address")


def add(session: Session, *, id: str, account_id: str, email: str, role: str, now: int) -> None:
    """ValueError if the account has a member of this address already."""
    if session.exec(select(Member.id).where(Member.account_id == account_id, Member.email == email)).first() is not None:
        raise ValueError("the account has a member of this address already")
    session.add(Member(id=id, account_id=account_id, email=email, role=role, created_at=now))
    session.flush()


def listed(session: Session, account_id: str) -> list[Member]:
    return list(session.exec(select(Member).where(Member.account_id == account_id).order_by(col(Member.created_at), col(Member.id))))


def change_role(session: Session, account_id: str, member_id: str, *, role: str, by: str) -> Member | None:
    """None if the account has no such member. Forbidden for what the role `by` may not make of them; their sessions end.

    An account always has an owner: the last one stays what they are.
    """
    member = _of(session, account_id, member_id)
    if member is None:
        return None
    _check_rank(by, member.role, role)
    if member.role == "owner" and role != "owner":
        _check_not_the_last_owner(session, account_id)
    member.role = role
    session.flush()
    _sign_out(session, member)
    return member


def remove(session: Session, account_id: str, member_id: str, *, by: str, now: int) -> Member | None:
    """None if the account has no such member. The keys that were theirs are revoked, their sessions end. Forbidden as of `change_role`."""
    member = _of(session, account_id, member_id)
    if member is None:
        return None
    _check_rank(by, member.role, member.role)
    if member.role == "owner":
        _check_not_the_last_owner(session, account_id)
    theirs = select(Key.id).where(Key.account_id == account_id, Key.member_id == member_id, col(Key.revoked_at).is_(None))
    for key_id in session.exec(theirs).all():
        keys.revoke(session, key_id=key_id, now=now)
    session.delete(member)
    session.flush()
    _sign_out(session, member)
    return member


def check_grant(by: str, role: str) -> None:
    """Forbidden unless somebody of role `by` may make somebody `role`."""
    _check_rank(by, role, role)


def _of(session: Session, account_id: str, member_id: str) -> Member | None:
    """Locks the account: of two owners who demote each other one is told no."""
    ledger.locked(session, account_id)
    return session.exec(select(Member).where(Member.account_id == account_id, Member.id == member_id)).one_or_none()


def _check_rank(by: str, before: str, after: str) -> None:
    if after not in ROLES:
        raise Forbidden(f"There is no such role; choose one of {', '.join(ROLES)}.")
    if by not in ("owner", "admin"):
        raise Forbidden("Only the owner and admins may change members.")
    if by == "admin" and "owner" in (before, after):
        raise Forbidden("Only an owner may make somebody an owner, or change one.")


def _check_not_the_last_owner(session: Session, account_id: str) -> None:
    owners = select(Member.id).where(Member.account_id == account_id, Member.role == "owner")
    if len(session.exec(owners).all()) < 2:
        raise Forbidden("This is the account's only owner: make somebody else an owner first.")


def _sign_out(session: Session, member: Member) -> None:
    if member.person_id is not None:
        sessions.end_all(session, member.person_id)
