"""People of an account. The one who opened it is its owner."""

import re

from sqlmodel import Session, col, select

from policy.tables import Member

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
