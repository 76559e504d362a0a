"""A key in exchange for another one: the new key is all that the old one was, which goes on for a while or ends at once."""

import hashlib
from typing import Final

from sqlmodel import Session, select

from policy import keys
from policy.errors import Forbidden
from policy.tables import Key

HOUR_MS: Final = 3_600_000
GRACE_HOURS: Final = (0, 1, 24, 168)
"""How long the old key may still be used."""


def rotate(
    session: Session, account_id: str, key_id: str, *, token: str, pepper: bytes, id: str, by: str, grace_hours: int, now: int
) -> Key:
    """The new key; both count in the same budgets. `by`: as in `account_keys.change`. ValueError if there is no such key."""
    old = session.exec(select(Key).where(Key.account_id == account_id, Key.id == key_id).with_for_update()).one_or_none()
    if old is None or old.revoked_at is not None:
        raise ValueError("the account has no such key, or it is revoked")
    if old.kind != "inference" and by != "owner":
        raise Forbidden("Only the owner may rotate this key.")
    if grace_hours not in GRACE_HOURS:
        raise ValueError(f"grace_hours: choose one of {', '.join(map(str, GRACE_HOURS))}")
    taken_over = old.model_dump(exclude={"id", "digest", "pepper", "hash", "label", "created_at", "updated_at", "revoked_at"})
    new = Key(
        **taken_over,
        id=id,
        digest=keys.digest(token, pepper),
        pepper=keys.pepper_name(pepper),
        hash=hashlib.sha256(token.encode()).hexdigest(),
        label=f"{token[:12]}...{token[-4:]}",
        created_at=now,
    )
    session.add(new)
    if grace_hours == 0:
        keys.revoke(session, key_id=old.id, now=now)
    else:
        ends = now + grace_hours * HOUR_MS
        old.expires_at = ends if old.expires_at is None else min(old.expires_at, ends)
        old.updated_at = now
    session.flush()
    return new
