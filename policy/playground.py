"""The key that a member's playground calls the API with: an inference key of theirs that lasts an hour, one at a time."""

from typing import Final

from sqlmodel import Session, col, select

from policy import keys
from policy.keys import NewKey
from policy.tables import Key

NAME: Final = "Playground"
LIFETIME_MS: Final = 3_600_000


def make_key(session: Session, account_id: str, *, member_id: str, token: str, pepper: bytes, id: str, now: int) -> Key:
    """Bound by the budgets of its member; the one before it ends. InvalidKey as of `keys.create`."""
    before = select(Key.id).where(
        Key.account_id == account_id, Key.member_id == member_id, Key.name == NAME, Key.kind == "inference", col(Key.revoked_at).is_(None)
    )
    for old in session.exec(before).all():
        keys.revoke(session, key_id=old, now=now)
    new = NewKey(account_id=account_id, kind="inference", name=NAME, member_id=member_id, expires_at=now + LIFETIME_MS)
    return keys.create(session, new, token=token, pepper=pepper, id=id, now=now)
