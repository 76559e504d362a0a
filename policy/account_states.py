"""An account's way out: active -> closing (30 days, or waived) -> purged, and suspended by the operator, and back while it can be.

    close      every key is dead within a second; the owner's key may still read, and call it off, until the window ends
    cancel     active again as it was: nothing is removed before the window ends
    purge      content is shredded; members, keys, rules, limits, choices and the words of requests go; generations are cut down to
               billing; the books stay
    suspend    by the operator, with a reason that every refusal shows: no key does anything but the owner's, which may read
    resume     active again

What is running when an account closes is still answered and charged; a purge waits for it. Purging is done in steps that can be done again.
"""

import datetime
from typing import Final, Literal

import msgspec
import sqlalchemy
from sqlalchemy import text
from sqlmodel import Session, SQLModel

from metering import ledger, reduction, rollups
from metering.database import Database
from metering.reduction import START, Place
from policy import audit, content_store, people_end, rights_requests
from policy.audit import OPERATOR, Deed
from policy.errors import WrongState
from policy.people_tables import AccountProfile, Link, SignedIn
from policy.privacy_tables import AccountPrivacy, PrivacyChange
from policy.rights_tables import AccountState
from policy.tables import AccountLimits, AccountRules, IdempotencyClaim, Key, Member, Project, ProviderKey

DAY_MS: Final = 86_400_000
WINDOW_DAYS: Final = 30
WAIVED_MS: Final = 10_000
"""What a waived window still is: by then every process has forgotten the keys, and what they began is held for."""
REASON_CHARACTERS_MAX: Final = 500
PURGED_AT_ONCE: Final = 100
PERSONAL: Final[tuple[type[SQLModel], ...]] = (
    *(
        Key,
        ProviderKey,
        Member,
        Project,
        AccountRules,
        AccountLimits,
        AccountPrivacy,
        PrivacyChange,
        IdempotencyClaim,
        Link,
        SignedIn,
        AccountProfile,
    ),
)
"""The tables whose rows of an account go when it is purged; its content goes before them. Every one has an `account_id`."""

State = Literal["active", "suspended", "closing", "purged"]


class Standing(msgspec.Struct, frozen=True):
    """`since` and `due_at` in Unix ms, None while active; `actor` a key's id or `operator`, `reason` the operator's."""

    state: State = "active"
    actor: str | None = None
    since: int | None = None
    due_at: int | None = None
    reason: str | None = None


ACTIVE: Final = Standing()


def of(session: Session, account_id: str) -> Standing:
    row = session.get(AccountState, account_id)
    if row is None:
        return ACTIVE
    state: State = next((known for known in ("suspended", "closing", "purged") if known == row.state), "purged")
    return Standing(state, row.actor, row.since, row.due_at, row.reason)


def close(session: Session, account_id: str, *, by: str, waive: bool, reason: str | None, now: int) -> Standing:
    """Closing twice keeps the first window, unless it is waived now. WrongState if it is purged, or suspended and `by` is a key."""
    before = _locked(session, account_id)
    if before.state == "purged" or (before.state == "suspended" and by != OPERATOR):
        raise WrongState(before.state, refusal(before))
    closing = before.state == "closing"
    due_at = now + WAIVED_MS if waive else (before.due_at if closing else now + WINDOW_DAYS * DAY_MS)
    reason = _checked(reason)
    standing = Standing("closing", before.actor if closing else by, before.since if closing else now, due_at, reason)
    return _become(session, account_id, standing, "account.close", by=by, now=now)


def cancel(session: Session, account_id: str, *, by: str, now: int) -> Standing:
    """WrongState if it is not closing, its window is over, or the operator closes it and a key asks."""
    before = _locked(session, account_id)
    if before.state != "closing" or (before.due_at or 0) <= now or (before.actor == OPERATOR and by != OPERATOR):
        raise WrongState(before.state, refusal(before))
    return _become(session, account_id, ACTIVE, "account.cancel", by=by, now=now)


def suspend(session: Session, account_id: str, *, reason: str, by: str = OPERATOR, now: int) -> Standing:
    """`by` is whom the audit log names; the standing's own actor is the operator, whoever of them it was."""
    before = _locked(session, account_id)
    if before.state in ("closing", "purged"):
        raise WrongState(before.state, refusal(before))
    standing = Standing("suspended", OPERATOR, now, None, _checked(reason))
    return _become(session, account_id, standing, "account.suspend", by=by, now=now)


def resume(session: Session, account_id: str, *, by: str = OPERATOR, now: int) -> Standing:
    before = _locked(session, account_id)
    if before.state != "suspended":
        raise WrongState(before.state, refusal(before))
    return _become(session, account_id, ACTIVE, "account.resume", by=by, now=now)


async def purge_due(database: Database, *, now: int) -> int:
    """Purges the accounts whose window is over and for which nothing is held any more; how many."""
    accounts = await database.read(due, now=now)
    return sum([await _purge(database, account_id, now=now) for account_id in accounts])


def due(session: Session, *, now: int) -> list[str]:
    """At most `PURGED_AT_ONCE`, the longest overdue first."""
    return list(session.connection().execute(_DUE, {"now": now, "limit": PURGED_AT_ONCE}).scalars())


async def _purge(database: Database, account_id: str, *, now: int) -> bool:
    """The keys of its content first: from then on nothing of it can be read, whatever becomes of this process."""
    await database.write(content_store.delete_all, account_id)
    place: Place | None = START
    while place is not None:
        _, place = await database.write(reduction.reduce, account_id, after=place, until=now + 1)
    await rollups.forget_origins(database, account_id, since=0, until=now + 2 * DAY_MS)
    return await database.write(_finish, account_id, now=now)


def refusal(standing: Standing) -> str:
    """What a key of the account is told, without a full stop at its end."""
    if standing.state == "active":
        return "This account is active"
    why = f": {standing.reason}" if standing.reason else ""
    if standing.state == "suspended":
        return f"This account is suspended by the operator{why}. The owner's key can still read"
    if standing.state == "purged":
        return "This account is closed and what it had is deleted; only its books remain"
    until = datetime.datetime.fromtimestamp((standing.due_at or 0) // 1000, datetime.UTC)
    whose = " by the operator" if standing.actor == OPERATOR else ""
    return f"This account is being closed{whose}{why}. Until {until:%Y-%m-%dT%H:%M:%SZ} the owner's key can still read"


def _finish(session: Session, account_id: str, *, now: int) -> bool:
    """False if it was called off meanwhile."""
    if _locked(session, account_id).state != "closing":
        return False
    content_store.delete_all(session, account_id)
    rights_requests.forget_words(session, account_id)
    people = people_end.members_of(session, account_id)
    for table in PERSONAL:
        session.connection().execute(sqlalchemy.delete(table).where(sqlalchemy.column("account_id") == account_id))
    people_end.forget_homeless(session, people)
    _become(session, account_id, Standing("purged", OPERATOR, now), "account.purge", by=OPERATOR, now=now)
    return True


def _locked(session: Session, account_id: str) -> Standing:
    """Of two who change the same account's state one waits. UnknownAccount."""
    ledger.locked(session, account_id)
    return of(session, account_id)


def _become(session: Session, account_id: str, standing: Standing, action: audit.Action, *, by: str, now: int) -> Standing:
    if standing.state == "active":
        session.connection().execute(_FORGET, {"account_id": account_id})
    else:
        session.connection().execute(_PUT, {"account_id": account_id, **msgspec.structs.asdict(standing)})
    audit.record(session, Deed(actor=by, action=action, account_id=account_id, change={"due_at": standing.due_at}), now=now)
    return standing


def _checked(reason: str | None) -> str | None:
    """ValueError for one that is too long, or that no header could carry."""
    if reason is not None and not (reason.isprintable() and 0 < len(reason) <= REASON_CHARACTERS_MAX):
        raise ValueError(f"--reason must have 1 to {REASON_CHARACTERS_MAX} printable characters")
    return reason


_PUT: Final = text("""INSERT INTO account_state (account_id, state, actor, since, due_at, reason)
    VALUES (:account_id, :state, :actor, :since, :due_at, :reason)
    ON CONFLICT (account_id) DO UPDATE SET state = excluded.state, actor = excluded.actor, since = excluded.since,
    due_at = excluded.due_at, reason = excluded.reason""")
_FORGET: Final = text("DELETE FROM account_state WHERE account_id = :account_id")
_DUE: Final = text("""SELECT s.account_id FROM account_state s JOIN account a ON a.id = s.account_id
    WHERE s.due_at IS NOT NULL AND s.due_at <= :now AND s.state = 'closing' AND a.held = 0 ORDER BY s.due_at LIMIT :limit""")
