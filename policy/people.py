"""People who sign in: found by address, members of accounts, and what they may set of themselves.

An address is kept in lower case and is ASCII without anything that could mean something in a mail's header. A person whose address is
confirmed becomes who the members of that address are, and the owner of a new account if there is none.
"""

import re
from collections.abc import Callable
from typing import Final

import sqlalchemy
from sqlalchemy import func
from sqlmodel import Session, col, select

from metering import ledger
from policy import audit, links, sessions
from policy.audit import Deed
from policy.errors import InvalidField
from policy.people_tables import MailConsent, Person
from policy.tables import Member

NAME_CHARACTERS_MAX: Final = 100
THEMES: Final = ("system", "light", "dark")
PAGE: Final = 100
_LABEL: Final = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_EMAIL: Final = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@(?=.{1,190}$)" + rf"{_LABEL}(?:\.{_LABEL})*")

NewId = Callable[[str], str]
"""`kind_` and something that no other row has."""


def address(text: str, *, field: str = "email") -> str:
    """The address as it is kept. InvalidField if mail cannot be sent there."""
    found = text.strip().lower()
    if _EMAIL.fullmatch(found) is None:
        raise InvalidField(field, "must be an e-mail address such as you@example.com")
    return found


def by_email(session: Session, email: str) -> Person | None:
    return session.exec(select(Person).where(Person.email == email)).first()


def create(session: Session, *, id: str, email: str, password: str | None, now: int) -> Person:
    person = Person(id=id, email=email, password=password, created_at=now, updated_at=now)
    session.add(person)
    session.flush()
    return person


def confirm_address(session: Session, person: Person, *, new_id: NewId, now: int) -> None:
    """Once it is known that the address is theirs. The last act of a transaction, as it may be recorded."""
    person.verified_at = person.verified_at or now
    person.updated_at = now
    session.flush()
    theirs = (func.lower(col(Member.email)) == person.email, col(Member.person_id).is_(None))
    session.connection().execute(sqlalchemy.update(Member).where(*theirs).values(person_id=person.id))
    if session.exec(select(Member.id).where(Member.person_id == person.id)).first() is None:
        _open_account(session, person, new_id=new_id, now=now)


def _open_account(session: Session, person: Person, *, new_id: NewId, now: int) -> None:
    account_id = new_id("acc")
    ledger.open_account(session, id=account_id, now=now)
    session.add(
        Member(id=new_id("mem"), account_id=account_id, email=person.email, role="owner", person_id=person.id, created_at=now),
    )
    session.flush()
    audit.record(session, Deed(actor=person.id, action="account.create", account_id=account_id), now=now)


def vouched_for(session: Session, email: str, *, new_id: NewId, now: int) -> Person:
    """The person of an address, made if need be, the address confirmed: the operator knows them, or an issuer says so.

    What somebody else may have set for an address they never confirmed is void: the password, and links that wait.
    """
    person = by_email(session, email)
    if person is None:
        person = create(session, id=new_id("per"), email=email, password=None, now=now)
    if person.verified_at is None:
        person.password = None
        links.drop(session, person_id=person.id, now=now)
    confirm_address(session, person, new_id=new_id, now=now)
    return person


def change_email(session: Session, person: Person, email: str, *, now: int) -> str:
    """The address before. InvalidField if another person has it; a link that was mailed to the old one opens nothing any more."""
    if by_email(session, email) is not None:
        raise InvalidField("email", "belongs to another person")
    before, person.email, person.updated_at = person.email, email, now
    session.flush()
    links.drop(session, person_id=person.id, now=now)
    session.connection().execute(sqlalchemy.update(Member).where(col(Member.person_id) == person.id).values(email=email))
    return before


def set_password(session: Session, person: Person, hashed: str, *, now: int) -> None:
    """Every session of theirs ends, and every link that waits."""
    person.password, person.updated_at = hashed, now
    session.flush()
    sessions.end_all(session, person.id)
    links.drop(session, person_id=person.id, now=now)


def set_profile(session: Session, person_id: str, *, name: str, time_zone: str, theme: str, known_zones: frozenset[str], now: int) -> None:
    """InvalidField names what is wrong; nothing else of a person can be set here."""
    name = name.strip()
    if len(name) > NAME_CHARACTERS_MAX or (name and not name.isprintable()):
        raise InvalidField("name", f"must have {NAME_CHARACTERS_MAX} printable characters or less")
    if time_zone not in known_zones:
        raise InvalidField("time_zone", "must be a name such as Europe/Berlin or UTC")
    if theme not in THEMES:
        raise InvalidField("theme", f"choose one of {', '.join(THEMES)}")
    values = {"name": name, "time_zone": time_zone, "theme": theme, "updated_at": now}
    session.connection().execute(sqlalchemy.update(Person).where(col(Person.id) == person_id).values(**values))


def consent(session: Session, person_id: str, *, given: bool, source: str, id: str, now: int) -> bool:
    """A yes or no to mails that nobody needs. False if that is what they said before, or there is no such person."""
    if session.get(Person, person_id) is None or wants_mails(session, person_id) == given:
        return False
    session.add(MailConsent(id=id, person_id=person_id, given=int(given), source=source, at=now))
    session.flush()
    return True


def wants_mails(session: Session, person_id: str) -> bool:
    """Who never said anything does not want them."""
    newest = (
        select(MailConsent.given).where(MailConsent.person_id == person_id).order_by(col(MailConsent.at).desc(), col(MailConsent.id).desc())
    )
    return bool(session.exec(newest.limit(1)).first())


def block(session: Session, person: Person, *, now: int) -> None:
    """They are signed out, and let in nowhere; `unblock` takes it back."""
    person.blocked_at, person.updated_at = person.blocked_at or now, now
    session.flush()
    sessions.end_all(session, person.id)
    links.drop(session, person_id=person.id, now=now)


def unblock(session: Session, person: Person, *, now: int) -> None:
    person.blocked_at, person.updated_at = None, now
    session.flush()


def make_operator(session: Session, person: Person, *, operator: bool, now: int) -> None:
    """Their sessions end: rights never change within one."""
    person.operator, person.updated_at = int(operator), now
    session.flush()
    sessions.end_all(session, person.id)


def page(session: Session, *, after: str = "") -> list[Person]:
    """The next `PAGE` people behind an id, oldest first."""
    return list(session.exec(select(Person).where(Person.id > after).order_by(col(Person.id)).limit(PAGE)))
