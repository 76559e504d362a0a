"""People of an account. So far each account has its owner."""

import re

from sqlmodel import Session

from policy.tables import Member

_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,190}")


def check_email(email: str) -> None:
    """ValueError unless it looks like an address; whether it receives mail is for verification to find out."""
    if _EMAIL.fullmatch(email) is None:
        raise ValueError(f"{email[:80]!r} is not an e-mail address")


def add_owner(session: Session, *, id: str, account_id: str, email: str, now: int) -> None:
    session.add(Member(id=id, account_id=account_id, email=email, role="owner", created_at=now))
    session.flush()
