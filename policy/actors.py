"""Who stands behind the id of an actor, in words for the people of an account: its members and keys by name, never anybody else's."""

from collections.abc import Iterable
from typing import Final

from sqlmodel import Session, col, select

from policy.audit import OPERATOR
from policy.people_tables import Person
from policy.tables import Key, Member

GONE: Final = "somebody who is no member any more"
KEY_GONE: Final = "a key that is gone"


def names(session: Session, account_id: str, actors: Iterable[str]) -> dict[str, str]:
    """Of each id, as audit and histories have it; `actors` are at most a page. An operator is never named."""
    wanted = set(actors)
    members = select(Member.person_id, Member.email).where(Member.account_id == account_id, col(Member.person_id).in_(wanted))
    people = {person_id: email for person_id, email in session.exec(members) if person_id}
    keys = select(Key.id, Key.name, Key.label).where(Key.account_id == account_id, col(Key.id).in_(wanted))
    known = people | {id: f"key {name} ({label})" if name else f"key {label}" for id, name, label in session.exec(keys)}
    operators = set(session.exec(select(Person.id).where(col(Person.id).in_(wanted - known.keys()), Person.operator == 1)))
    return {actor: known.get(actor) or _unknown(actor, operators) for actor in wanted}


def _unknown(actor: str, operators: set[str]) -> str:
    if actor.startswith("key_"):
        return KEY_GONE
    return OPERATOR if actor == OPERATOR or actor in operators else GONE
