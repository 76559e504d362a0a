"""What exports say of an API key besides its id: its name, its project and its member. Never the key, never its hash."""

from sqlmodel import Session, col, select

from metering.exports import KeyFacts
from policy.tables import Key


def named(session: Session, ids: set[str]) -> dict[str, KeyFacts]:
    """The facts of the keys that exist, revoked ones included; `ids` are at most a page of an export."""
    found = select(Key.id, Key.name, Key.project_id, Key.member_id).where(col(Key.id).in_(ids))
    return {id: KeyFacts(name, project_id, member_id) for id, name, project_id, member_id in session.exec(found)} if ids else {}
