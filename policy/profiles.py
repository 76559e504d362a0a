"""What an account's owner may correct over the API: their address, their name, and what the account is called.

The address of somebody who signs in is changed where the new one is verified, never here: whoever has the key would otherwise take the
sign-in over. The audit log gets the names of the fields, never the words.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from sqlmodel import Session, col, func, select

from metering import ledger
from policy import audit, people
from policy.audit import Deed
from policy.errors import InvalidField
from policy.people_tables import AccountProfile, Person
from policy.tables import Member

NAME_MAX: Final = 100
FIELDS: Final = ("email", "name", "account_name")


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """`email` and `name` are the owner's; `name` None while nobody signs in as the owner. `account_name` is '' where there is none."""

    email: str | None
    name: str | None
    account_name: str
    signs_in: bool


def of(session: Session, account_id: str) -> Profile:
    owner, person = _owner_of(session, account_id)
    named = session.get(AccountProfile, account_id)
    return Profile(
        email=None if owner is None else owner.email,
        name=None if person is None else person.name,
        account_name="" if named is None else named.name,
        signs_in=person is not None,
    )


def change(session: Session, account_id: str, fields: Mapping[str, Any], *, by: str, now: int) -> Profile:
    """Changes the fields of FIELDS that are given, and leaves the others. InvalidField names the one that cannot be."""
    for name, value in fields.items():
        if name not in FIELDS:
            raise InvalidField(name[:100], f"is not a known field; use {', '.join(FIELDS)}")
        if not isinstance(value, str):
            raise InvalidField(name, "must be a string")
    ledger.locked(session, account_id)
    owner, person = _owner_of(session, account_id)
    if "email" in fields:
        _set_email(session, owner, fields["email"])
    if "name" in fields:
        _set_name(session, person, fields["name"], now)
    if "account_name" in fields:
        _set_account_name(session, account_id, fields["account_name"], now)
    session.flush()
    if fields:
        deed = Deed(actor=by, action="profile.change", account_id=account_id, change={"fields": sorted(fields)})
        audit.record(session, deed, now=now)
    return of(session, account_id)


def _owner_of(session: Session, account_id: str) -> tuple[Member | None, Person | None]:
    """Of several owners the one who is that for longest."""
    found = select(Member).where(Member.account_id == account_id, Member.role == "owner")
    owner = session.exec(found.order_by(col(Member.created_at), col(Member.id)).limit(1)).one_or_none()
    return owner, session.get(Person, owner.person_id) if owner and owner.person_id else None


def _set_email(session: Session, owner: Member | None, email: str) -> None:
    if owner is None:
        raise InvalidField("email", "cannot be changed: the account has no owner among its members")
    if owner.person_id is not None:
        raise InvalidField("email", "is what the owner signs in with: change it when signed in, where the new address is verified")
    wanted = people.address(email)
    same = select(Member.id).where(Member.account_id == owner.account_id, func.lower(col(Member.email)) == wanted, Member.id != owner.id)
    if session.exec(same).first() is not None:
        raise InvalidField("email", "belongs to another member of this account")
    owner.email = wanted
    session.add(owner)


def _set_name(session: Session, person: Person | None, name: str, now: int) -> None:
    if person is None:
        raise InvalidField("name", "cannot be set: nobody signs in as the owner of this account, so no name is kept")
    _check_line("name", name)
    person.name, person.updated_at = name, now
    session.add(person)


def _set_account_name(session: Session, account_id: str, name: str, now: int) -> None:
    _check_line("account_name", name)
    row = session.get(AccountProfile, account_id) or AccountProfile(account_id=account_id, name=name, updated_at=now)
    row.name, row.updated_at = name, now
    session.add(row)


def _check_line(field: str, words: str) -> None:
    if not (words.isprintable() and len(words) <= NAME_MAX):
        raise InvalidField(field, f"must have at most {NAME_MAX} printable characters")
