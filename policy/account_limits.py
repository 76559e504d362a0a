"""Whose limits bound a key: its own, its account's, and those of accounts that never had paid credit; rows and rules for `limits.enter`."""

from sqlalchemy import text
from sqlmodel import Session, select

from metering import ledger
from metering.tables import Credit
from policy.limits import Scope
from policy.tables import AccountLimits, Key


def set_limits(
    session: Session, account_id: str, *, requests_per_minute: int | None, tokens_per_minute: int | None, concurrency: int | None, now: int
) -> None:
    """What all keys of the account may do together; None = no limit. UnknownAccount, or ValueError for a limit below 0."""
    ledger.balance(session, account_id)
    limits = {"requests_per_minute": requests_per_minute, "tokens_per_minute": tokens_per_minute, "concurrency": concurrency}
    for name, limit in limits.items():
        if limit is not None and not 0 <= limit < 2**31:
            raise ValueError(f"{name}: must be from 0 to {2**31 - 1}, or absent for no limit")
    session.connection().execute(_SET, {"account_id": account_id, **limits, "now": now})


def of(session: Session, account_id: str) -> AccountLimits | None:
    return session.get(AccountLimits, account_id)


def free_tier(session: Session, account_id: str) -> bool:
    """Has this account never had paid credit? Promotional credit does not count, spent or expired paid credit does."""
    paid = select(Credit.id).where(Credit.account_id == account_id, Credit.kind == "paid").limit(1)
    return session.exec(paid).first() is None


def scopes(key: Key, account: AccountLimits | None, free: Scope | None = None) -> tuple[Scope, ...]:
    """Those that limit anything, so () for most callers; `free` has the limits of the free tier, None where they do not apply."""
    found = [_scope(key, key.account_id, key.id, "key")]
    if account is not None:
        found.append(_scope(account, key.account_id, key.account_id, "account"))
    if free is not None:
        found.append(_scope(free, key.account_id, key.account_id, "free_tier"))
    return tuple(scope for scope in found if scope.limited)


_SET = text("""INSERT INTO account_limits (account_id, requests_per_minute, tokens_per_minute, concurrency, updated_at)
    VALUES (:account_id, :requests_per_minute, :tokens_per_minute, :concurrency, :now)
    ON CONFLICT (account_id) DO UPDATE SET requests_per_minute = excluded.requests_per_minute,
    tokens_per_minute = excluded.tokens_per_minute, concurrency = excluded.concurrency, updated_at = excluded.updated_at""")
"""One statement, so that two owners who set limits at the same time do not meet in the middle."""


def _scope(limits: Key | AccountLimits | Scope, account_id: str, id: str, whose: str) -> Scope:
    return Scope(
        account_id=account_id,
        id=id,
        whose=whose,
        requests_per_minute=limits.requests_per_minute,
        tokens_per_minute=limits.tokens_per_minute,
        concurrency=limits.concurrency,
    )
