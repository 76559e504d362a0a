"""Where people are signed in: opaque tokens of 256 bits in a cookie, only their SHA-256 here, bounded in idleness and in age.

A session begins with a new token at every sign-in and whenever its rights change; a password change ends the others. One that was not
seen for 12 hours, or is 30 days old, is gone. `confirmed_at` is when its person last proved who they are: what cannot be undone asks for
that to be recent.
"""

import hashlib
from typing import Final

import msgspec
import sqlalchemy
from sqlmodel import Session, col, select

from metering import ledger
from policy import account_states
from policy.account_states import Standing
from policy.people_tables import AccountProfile, Person, SignedIn
from policy.tables import Member

TOKEN_BYTES: Final = 32
IDLE_MS: Final = 12 * 3_600_000
AGE_MS: Final = 30 * 86_400_000
CONFIRMED_MS: Final = 10 * 60_000
SEEN_EVERY_MS: Final = 5 * 60_000
"""So often at most a session's row is written just because somebody looks at pages."""
SESSIONS_MAX: Final = 50
"""Of one person; the one not seen for longest makes room."""
ACCOUNTS_MAX: Final = 100


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """`name` is the account's, or its owner's address where it has none."""

    account_id: str
    member_id: str
    role: str
    name: str


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """A session with its person and the account that is looked at; `membership` is None for a person without any account.

    `available` is that account's balance without what is held, nano-USD.
    """

    digest: str
    person: Person
    membership: Membership | None
    memberships: tuple[Membership, ...]
    standing: Standing
    available: int
    seen_at: int
    confirmed_at: int


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def begin(session: Session, person_id: str, *, token: str, agent: str, account_id: str | None = None, now: int) -> None:
    """`token` is new and random; `agent` a browser in our words."""
    kept = list(session.exec(select(SignedIn).where(SignedIn.person_id == person_id).order_by(col(SignedIn.seen_at).desc())))
    for row in kept[SESSIONS_MAX - 1 :]:
        session.delete(row)
    row = SignedIn(
        digest=digest(token), person_id=person_id, account_id=account_id, agent=agent,
        created_at=now, seen_at=now, confirmed_at=now, expires_at=now + AGE_MS,
    )  # fmt: skip
    session.add(row)
    session.flush()


def find(session: Session, token: str, *, now: int) -> Visit | None:
    """None if there is no such session any more, or its person is blocked."""
    row = session.get(SignedIn, digest(token))
    if row is None or now >= row.expires_at or now - row.seen_at >= IDLE_MS:
        return None
    person = session.get(Person, row.person_id)
    if person is None or person.blocked_at is not None:
        return None
    memberships = memberships_of(session, person.id)
    chosen = next((each for each in memberships if each.account_id == row.account_id), memberships[0] if memberships else None)
    session.expunge(person)
    return Visit(
        digest=row.digest, person=person, membership=chosen, memberships=memberships, seen_at=row.seen_at, confirmed_at=row.confirmed_at,
        standing=account_states.of(session, chosen.account_id) if chosen else account_states.ACTIVE,
        available=ledger.available(session, chosen.account_id) if chosen else 0,
    )  # fmt: skip


def memberships_of(session: Session, person_id: str) -> tuple[Membership, ...]:
    """The oldest first."""
    mine = select(Member).where(Member.person_id == person_id).order_by(col(Member.created_at), col(Member.id)).limit(ACCOUNTS_MAX)
    return tuple(
        Membership(account_id=member.account_id, member_id=member.id, role=member.role, name=account_name(session, member.account_id))
        for member in session.exec(mine)
    )


def account_name(session: Session, account_id: str) -> str:
    profile = session.get(AccountProfile, account_id)
    if profile is not None:
        return profile.name
    owners = select(Member.email).where(Member.account_id == account_id, Member.role == "owner").order_by(col(Member.created_at))
    return session.exec(owners).first() or account_id


def seen(session: Session, digest: str, *, now: int) -> None:
    session.connection().execute(sqlalchemy.update(SignedIn).where(col(SignedIn.digest) == digest).values(seen_at=now))


def choose(session: Session, digest: str, account_id: str) -> bool:
    """Looks at another account from now on; False if its person is no member there."""
    row = session.get(SignedIn, digest)
    if row is None or all(each.account_id != account_id for each in memberships_of(session, row.person_id)):
        return False
    row.account_id = account_id
    session.flush()
    return True


def renew(session: Session, digest_before: str, *, token: str, now: int) -> None:
    """The same session under a new token, its person just confirmed: the old cookie is worth nothing."""
    values = {"digest": digest(token), "confirmed_at": now, "seen_at": now}
    session.connection().execute(sqlalchemy.update(SignedIn).where(col(SignedIn.digest) == digest_before).values(**values))


def listed(session: Session, person_id: str, *, now: int) -> list[SignedIn]:
    """Those that still count, the one that was seen last first."""
    living = select(SignedIn).where(SignedIn.person_id == person_id, SignedIn.expires_at > now, SignedIn.seen_at > now - IDLE_MS)
    return list(session.exec(living.order_by(col(SignedIn.seen_at).desc())))


def end(session: Session, digest: str) -> None:
    session.connection().execute(sqlalchemy.delete(SignedIn).where(col(SignedIn.digest) == digest))


def end_all(session: Session, person_id: str, *, but: str | None = None) -> int:
    """Ends every session of a person, except the one of digest `but`; how many."""
    ended = sqlalchemy.delete(SignedIn).where(col(SignedIn.person_id) == person_id)
    if but is not None:
        ended = ended.where(col(SignedIn.digest) != but)
    return session.connection().execute(ended).rowcount
