"""When a person goes: with the last account they were a member of, or a week after they signed up and never confirmed their address."""

from typing import Final

import sqlalchemy
from sqlmodel import Session, SQLModel, col, select

from policy.people_tables import Identity, Link, MailConsent, Passkey, Person, SignedIn
from policy.tables import Member

UNCONFIRMED_DAYS: Final = 7
AT_ONCE: Final = 500
_THEIRS: Final[tuple[type[SQLModel], ...]] = (Passkey, Identity, SignedIn, Link, MailConsent)


def members_of(session: Session, account_id: str) -> list[str]:
    """The people of an account, to be asked before its members are removed."""
    return list(filter(None, session.exec(select(Member.person_id).where(Member.account_id == account_id)).all()))


def forget_homeless(session: Session, people: list[str]) -> int:
    """Removes those who are members of no account any more, with all that is theirs; how many. Who runs the installation stays."""
    if not people:
        return 0
    at_home = select(Member.person_id).where(col(Member.person_id).in_(people))
    gone = select(Person.id).where(col(Person.id).in_(people), Person.operator == 0, col(Person.id).not_in(at_home))
    return _forget(session, list(session.exec(gone).all()))


def forget_unconfirmed(session: Session, *, until: int) -> int:
    """Those who signed up before `until` (Unix ms) and never confirmed their address; how many, at most `AT_ONCE`."""
    member = select(Member.id).where(col(Member.person_id) == col(Person.id)).exists()
    old = select(Person.id).where(col(Person.verified_at).is_(None), Person.created_at < until, Person.operator == 0, ~member)
    return _forget(session, list(session.exec(old.limit(AT_ONCE)).all()))


def _forget(session: Session, people: list[str]) -> int:
    if not people:
        return 0
    emails = sqlalchemy.select(col(Person.email)).where(col(Person.id).in_(people))
    session.connection().execute(sqlalchemy.delete(Link).where(col(Link.email).in_(emails)))
    for table in _THEIRS:
        session.connection().execute(sqlalchemy.delete(table).where(sqlalchemy.column("person_id").in_(people)))
    return session.connection().execute(sqlalchemy.delete(Person).where(col(Person.id).in_(people))).rowcount
