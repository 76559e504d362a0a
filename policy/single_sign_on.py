"""Who comes from an issuer of single sign-on: bound by issuer and subject, never by an address alone.

Known there and here: in. Unknown here: a new person, if the issuer has verified the address and nobody here has it. Somebody here has it:
they sign in first and connect the two themselves, so that no issuer can open anybody's account by claiming an address.
"""

from typing import Final

import msgspec
import sqlalchemy
from sqlmodel import Session, col, select

from policy import people
from policy.errors import InvalidField, SignInRefused
from policy.people_tables import Identity, Person

SUBJECT_CHARACTERS_MAX: Final = 255
UNVERIFIED: Final = "The sign-in service has not verified your address; verify it there first."
CONNECT_FIRST: Final = "Your address has an account here. Sign in to it first, then connect the sign-in service under Settings."
BLOCKED: Final = "The operator has blocked this person. Write to them."


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """What a verified id token says. `email_verified` only if it is literally true there."""

    issuer: str
    subject: str
    email: str
    email_verified: bool


def enter(session: Session, who: Claimed, *, new_id: people.NewId, now: int) -> str:
    """The id of the person who is let in. SignInRefused says what to do instead."""
    identity = session.get(Identity, (who.issuer, who.subject))
    if identity is not None:
        person = session.get(Person, identity.person_id)
        if person is None or person.blocked_at is not None:
            raise SignInRefused(BLOCKED)
        return person.id
    if not who.email_verified:
        raise SignInRefused(UNVERIFIED)
    email = _address(who)
    person = people.by_email(session, email)
    if person is not None and (person.verified_at is not None or person.blocked_at is not None):
        raise SignInRefused(CONNECT_FIRST)
    person = person or people.create(session, id=new_id("per"), email=email, password=None, now=now)
    _bind(session, who, person.id, now=now)
    return people.vouched_for(session, email, new_id=new_id, now=now).id


def connect(session: Session, who: Claimed, person_id: str, *, now: int) -> None:
    """Binds somebody who is signed in and asked for it. InvalidField unless the address is theirs and verified there."""
    person = session.get(Person, person_id)
    if person is None or person.blocked_at is not None:
        raise SignInRefused(BLOCKED)
    if not who.email_verified:
        raise InvalidField("single sign-on", UNVERIFIED.rstrip("."))
    if _address(who) != person.email:
        raise InvalidField("single sign-on", "the sign-in service knows you by another address; change one of the two first")
    found = session.get(Identity, (who.issuer, who.subject))
    if found is not None and found.person_id != person_id:
        raise InvalidField("single sign-on", "this identity is connected to another person")
    if found is None:
        _bind(session, who, person_id, now=now)


def listed(session: Session, person_id: str) -> list[Identity]:
    return list(session.exec(select(Identity).where(Identity.person_id == person_id).order_by(col(Identity.created_at))))


def disconnect(session: Session, person_id: str, *, issuer: str) -> bool:
    theirs = (col(Identity.person_id) == person_id, col(Identity.issuer) == issuer)
    return session.connection().execute(sqlalchemy.delete(Identity).where(*theirs)).rowcount > 0


def _bind(session: Session, who: Claimed, person_id: str, *, now: int) -> None:
    session.add(Identity(issuer=who.issuer, subject=who.subject, person_id=person_id, created_at=now))
    session.flush()


def _address(who: Claimed) -> str:
    try:
        return people.address(who.email)
    except InvalidField:
        raise SignInRefused("The sign-in service gives no e-mail address that can be used here.") from None
