"""Idempotency-Key: which request of an account owns a key, so that a request which is sent again is never charged again.

A claim belongs to one generation, and what became of that generation's hold decides what a repetition is told:

    hold open                              still running
    hold settled, or recovered charged     ended; the charge is the hold's
    hold void, or recovered uncharged      nothing was paid for, so the claim is free for whoever asks next
    no hold yet                            still running; after `HOLD_WITHIN_MS` its process is taken for dead and the claim is free

A claim that is in force refuses another body. One older than `LIFETIME_MS` counts as absent. Whoever takes over a claim without a hold
forbids that hold in the same transaction: a process that was only slow cannot begin what somebody else has begun again.
Key and body are content: only their HMACs under a secret of the account are stored, and the route counts as part of the body. A claim
that was made under an older TOLLWAY_SECRET_KEY is found as well, and goes on under the present one.
"""

import hashlib
import hmac
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import text
from sqlmodel import Session, select

from metering import ledger
from metering.batch import OPEN, RECOVERED, SETTLED
from metering.tables import Hold
from policy.keys import derive

LIFETIME_MS: Final = 24 * 60 * 60 * 1000
HOLD_WITHIN_MS: Final = 30_000
"""Far longer than the one write between a claim and its hold takes on a healthy database."""
PRUNE_MAX: Final = 1000


class Claim(msgspec.Struct, frozen=True):
    """What a request lays claim to: an account's key, for exactly this route and body (HMACs, hex).

    `older` are the same two HMACs under each of the older secrets.
    """

    account_id: str
    key_mac: str
    body_mac: str
    older: tuple[tuple[str, str], ...] = ()


class Claimed(msgspec.Struct, frozen=True):
    """The key is this generation's: it may be held for and sent."""


class Running(msgspec.Struct, frozen=True):
    """The same request runs as this generation."""

    generation_id: str


class Ended(msgspec.Struct, frozen=True):
    """The same request ran as this generation, which was charged so much, nano-USD."""

    generation_id: str
    charge: int


class OtherBody(msgspec.Struct, frozen=True):
    """The key belongs to this generation of a different request."""

    generation_id: str


def claim_of(key: bytes, body: bytes, *, account_id: str, route: str, secrets: Sequence[str]) -> Claim:
    """The claim of a request to `route` (such as "chat/completions"). Hashes all of the body.

    `secrets`: TOLLWAY_SECRET_KEY and those before it.
    """
    (key_mac, body_mac), *older = (_macs(key, body, account_id=account_id, route=route, secret=secret) for secret in secrets)
    return Claim(account_id, key_mac, body_mac, tuple(older))


def _macs(key: bytes, body: bytes, *, account_id: str, route: str, secret: str) -> tuple[str, str]:
    of_account = derive(secret, f"idempotency:{account_id}")
    of_body = hmac.new(of_account, b"body:" + route.encode() + b"\0", hashlib.sha256)
    of_body.update(body)
    return hmac.digest(of_account, b"key:" + key, hashlib.sha256).hex(), of_body.hexdigest()


def claim(session: Session, wanted: Claim, *, generation_id: str, now: int) -> Claimed | Running | Ended | OtherBody:
    """Claims the key for `generation_id` or says who has it. Of any number of concurrent callers one is Claimed. A write transaction."""
    row = {**_row(wanted), "generation_id": generation_id, "now": now}
    for older in wanted.older:
        if (another := _gone_on(session, row, *older, now=now)) is not None:
            return another
    body_mac, owner, created_at = session.connection().execute(_CLAIM, row).one()
    if owner == generation_id:
        return Claimed()
    found = _state_of(session, wanted.account_id, owner, created_at=created_at, now=now)
    if found is None:
        session.connection().execute(_TAKE_OVER, row)
        return Claimed()
    return found if hmac.compare_digest(body_mac, wanted.body_mac) else OtherBody(owner)


def release(session: Session, held: Claim, *, generation_id: str) -> bool:
    """Frees the key after a refusal for which nothing was held. False if it belongs to another generation by now."""
    return session.connection().execute(_RELEASE, {**_row(held), "generation_id": generation_id}).rowcount == 1


def prune(session: Session, *, now: int) -> int:
    """Deletes the oldest claims that count as absent, at most `PRUNE_MAX`; returns how many."""
    return session.connection().execute(_PRUNE, {"until": now - LIFETIME_MS, "most": PRUNE_MAX}).rowcount


def _gone_on(session: Session, row: dict[str, Any], old_key: str, old_body: str, *, now: int) -> OtherBody | None:
    """Takes a claim of this request from an older secret over to the present one; OtherBody if one for another body is in force."""
    found = session.connection().execute(_OLDER, {"account_id": row["account_id"], "old_key": old_key}).one_or_none()
    if found is None:
        return None
    body_mac, owner, created_at = found
    if hmac.compare_digest(body_mac, old_body):
        session.connection().execute(_GO_ON, {**row, "old_key": old_key})
        return None
    state = _state_of(session, row["account_id"], owner, created_at=created_at, now=now)
    return None if state is None else OtherBody(owner)


def _row(claim: Claim) -> dict[str, str]:
    return {"account_id": claim.account_id, "key_mac": claim.key_mac, "body_mac": claim.body_mac}


def _state_of(session: Session, account_id: str, generation_id: str, *, created_at: int, now: int) -> Running | Ended | None:
    """None: the claim is free. A clock that was set back counts as far as it was set, so that no claim is in force for ever."""
    age = abs(now - created_at)
    if age >= LIFETIME_MS:
        return None
    hold = session.exec(select(Hold.state, Hold.charge).where(Hold.id == generation_id)).one_or_none()
    if hold is None:
        free = age >= HOLD_WITHIN_MS and ledger.forbid(session, id=generation_id, account_id=account_id, now=now)
        return None if free else Running(generation_id)
    state, charge = hold
    if state == OPEN:
        return Running(generation_id)
    return Ended(generation_id, charge) if state == SETTLED or (state == RECOVERED and charge) else None


_OLDER: Final = text(
    "SELECT body_mac, generation_id, created_at FROM idempotency_claim WHERE account_id = :account_id AND key_mac = :old_key"
)
_GO_ON: Final = text(
    """UPDATE idempotency_claim SET key_mac = :key_mac, body_mac = :body_mac
    WHERE account_id = :account_id AND key_mac = :old_key AND NOT EXISTS
    (SELECT 1 FROM idempotency_claim newer WHERE newer.account_id = :account_id AND newer.key_mac = :key_mac)"""
)
# The update of nothing locks the row that is there: until this transaction ends, nobody else decides about this claim.
_CLAIM: Final = text(
    """INSERT INTO idempotency_claim (account_id, key_mac, body_mac, generation_id, created_at)
    VALUES (:account_id, :key_mac, :body_mac, :generation_id, :now)
    ON CONFLICT (account_id, key_mac) DO UPDATE SET created_at = idempotency_claim.created_at
    RETURNING body_mac, generation_id, created_at"""
)
_TAKE_OVER: Final = text(
    """UPDATE idempotency_claim SET body_mac = :body_mac, generation_id = :generation_id, created_at = :now
    WHERE account_id = :account_id AND key_mac = :key_mac"""
)
_RELEASE: Final = text(
    "DELETE FROM idempotency_claim WHERE account_id = :account_id AND key_mac = :key_mac AND generation_id = :generation_id"
)
# The age is asked twice: a claim that is taken over while this waits for its row is young again and must stay.
_PRUNE: Final = text(
    """DELETE FROM idempotency_claim WHERE created_at <= :until AND (account_id, key_mac) IN
    (SELECT account_id, key_mac FROM idempotency_claim WHERE created_at <= :until ORDER BY created_at LIMIT :most)"""
)
