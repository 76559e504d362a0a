"""What exports say of an API key besides its id: its name, its project and its member. Never the key, never its hash."""

from typing import Final

from sqlmodel import Session, col, select

from metering.exports import KeyFacts
from policy.tables import Key

OF_ACCOUNT_MAX: Final = 5000


def named(session: Session, ids: set[str]) -> dict[str, KeyFacts]:
    """The facts of the keys that exist, revoked ones included; `ids` are at most a page of an export."""
    found = select(Key.id, Key.name, Key.project_id, Key.member_id).where(col(Key.id).in_(ids))
    return {id: KeyFacts(name, project_id, member_id) for id, name, project_id, member_id in session.exec(found)} if ids else {}


def of_account(session: Session, account_id: str) -> dict[str, KeyFacts]:
    """The facts of the account's keys by id, revoked ones included; the newest `OF_ACCOUNT_MAX`."""
    found = select(Key.id, Key.name, Key.project_id, Key.member_id).where(Key.account_id == account_id)
    rows = session.exec(found.order_by(col(Key.created_at).desc(), col(Key.id)).limit(OF_ACCOUNT_MAX))
    return {id: KeyFacts(name, project_id, member_id) for id, name, project_id, member_id in rows}
