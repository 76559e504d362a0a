"""Links that work once: a token of 256 bits that is mailed or printed, only its SHA-256 here, for one purpose and a short time.

A new link takes the place of the ones that wait for the same purpose and address. How many an address gets in an hour is bounded, so that
nobody's mailbox can be filled; whoever asked for more still has the newest that came. Those that the operator prints are not counted.
"""

import base64
import hashlib
from collections.abc import Callable
from typing import Final, Literal

import msgspec
import sqlalchemy
from sqlalchemy import ColumnElement, func
from sqlmodel import Session, col, select

from policy.people_tables import Link

Purpose = Literal["verify", "reset", "invite", "email", "sign_in"]
TOKEN_BYTES: Final = 32
HOUR_MS: Final = 3_600_000
LIFETIMES_MS: Final[dict[Purpose, int]] = {
    "verify": 24 * HOUR_MS,
    "reset": HOUR_MS,
    "invite": 7 * 24 * HOUR_MS,
    "email": 24 * HOUR_MS,
    "sign_in": HOUR_MS // 6,
}
PER_ADDRESS_MAX: Final = 5
"""In an hour, of one purpose."""


class NewLink(msgspec.Struct, frozen=True, kw_only=True):
    """`person_id` None: somebody who does not exist (yet). `role` and `invited_by` are those of an invitation."""

    purpose: Purpose
    email: str
    person_id: str | None = None
    account_id: str | None = None
    role: str | None = None
    invited_by: str | None = None


def token(random_bytes: Callable[[int], bytes]) -> str:
    return base64.urlsafe_b64encode(random_bytes(TOKEN_BYTES)).decode().rstrip("=")


def make(session: Session, new: NewLink, *, token: str, id: str, now: int) -> bool:
    """For a mail. False, and nothing changed, if the address has had enough of them in the last hour."""
    lately = select(func.count()).select_from(Link).where(*_alike(new), Link.created_at > now - HOUR_MS)
    if session.exec(lately).one() >= PER_ADDRESS_MAX:
        return False
    put(session, new, token=token, id=id, now=now)
    return True


def put(session: Session, new: NewLink, *, token: str, id: str, now: int) -> None:
    """For whoever is at the machine itself: no mailbox is filled by it."""
    # Those of an invitation to another account stay.
    same = (*_alike(new), col(Link.account_id).is_not_distinct_from(new.account_id), col(Link.used_at).is_(None))
    session.connection().execute(sqlalchemy.update(Link).where(*same).values(used_at=now))
    fields = msgspec.structs.asdict(new)
    session.add(Link(digest=digest(token), id=id, created_at=now, expires_at=now + LIFETIMES_MS[new.purpose], **fields))
    session.flush()


def _alike(new: NewLink) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return col(Link.purpose) == new.purpose, col(Link.email) == new.email


def look(session: Session, token: str, purpose: Purpose, *, now: int) -> Link | None:
    """The link, still good after this; None if it is not one, was used, or is over."""
    link = session.get(Link, digest(token))
    if link is None or link.purpose != purpose or link.used_at is not None or link.expires_at <= now:
        return None
    session.expunge(link)
    return link


def use(session: Session, token: str, purpose: Purpose, *, now: int) -> Link | None:
    """The link, used up by this: of two who use it at once one gets None."""
    good = (col(Link.digest) == digest(token), col(Link.purpose) == purpose, col(Link.used_at).is_(None), col(Link.expires_at) > now)
    used = session.connection().execute(sqlalchemy.update(Link).where(*good).values(used_at=now))
    return session.get(Link, digest(token)) if used.rowcount == 1 else None


def drop(session: Session, *, person_id: str, now: int) -> None:
    """Whatever waits for a person: a link that was mailed to an address they left must not open anything."""
    waiting = sqlalchemy.update(Link).where(col(Link.person_id) == person_id, col(Link.used_at).is_(None))
    session.connection().execute(waiting.values(used_at=now))


def digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
