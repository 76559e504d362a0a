"""The keys of an account as those see and change them who manage it. A deleted key is a revoked one: it is not there any more."""

from typing import Final

import msgspec
from msgspec import UNSET, UnsetType
from sqlmodel import Session, col, or_, select
from sqlmodel.sql.expression import SelectOfScalar

from metering import ledger
from metering.tables import Account
from policy import key_use, keys
from policy.errors import Forbidden, InvalidKey
from policy.key_use import Seen, seen
from policy.privacy import Level
from policy.tables import Key

PAGE: Final = 100


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """UNSET leaves as it is, None = without. `limit` in nano-USD, `reset` as in `metering.periods`, `data_policy` as of `key_policy`."""

    name: str | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET
    limit: int | UnsetType | None = UNSET
    reset: str | UnsetType | None = UNSET
    logging: Level | UnsetType | None = UNSET
    data_policy: str | UnsetType | None = UNSET


def public_id(key: Key) -> str:
    """The SHA-256 of the key; the id of one that is older than that column."""
    return key.hash or key.id


def page(session: Session, account_id: str, *, offset: int, with_disabled: bool) -> list[Key]:
    """At most `PAGE` keys, oldest first, so that new ones do not move the others."""
    found = _living(account_id).order_by(col(Key.created_at), col(Key.id)).offset(offset).limit(PAGE)
    enabled = found if with_disabled else found.where(col(Key.disabled_at).is_(None))
    return list(session.exec(enabled))


def one(session: Session, account_id: str, named: str, *, now: int) -> Seen | None:
    """The account's key of this public id or id; None also for another account's."""
    key = session.exec(_named(account_id, named)).one_or_none()
    return None if key is None else seen(session, [key], now=now)[0]


def limited(session: Session, account_id: str, named: str) -> Seen | None:
    """As `one`, without what it used."""
    key = session.exec(_named(account_id, named)).one_or_none()
    return None if key is None else key_use.limited(session, [key])[0]


def id_of(session: Session, account_id: str, named: str) -> str | None:
    """The id of the account's key of this public id or id, also when it was deleted: what it used stays on the books."""
    return session.exec(select(Key.id).where(Key.account_id == account_id, or_(Key.hash == named, Key.id == named))).one_or_none()


def change(session: Session, account_id: str, named: str, wanted: Change, *, by: str, limit_id: str, now: int) -> Seen | None:
    """`by` is the kind of the key that asks, `limit_id` the id for a new budget row. None if the account has no such key.

    InvalidKey names the field; Forbidden for a key that this one may not change. A new limit, and one whose `reset` changes, begins with
    nothing spent: it is a row of its own, while requests that are running still count in the old one.
    """
    key = session.exec(_named(account_id, named).with_for_update()).one_or_none()
    if key is None:
        return None
    _check_rank(key, by)
    if wanted.name is not UNSET:
        keys.check_name(wanted.name)
        key.name = wanted.name
    if wanted.disabled is not UNSET:
        key.disabled_at = (key.disabled_at or now) if wanted.disabled else None
    if wanted.logging is not UNSET:
        key.logging = wanted.logging
    if wanted.data_policy is not UNSET:
        key.data_policy = wanted.data_policy
    _set_limit(session, key, wanted, limit_id, now)
    key.updated_at = now
    session.flush()
    return seen(session, [key], now=now)[0]


def delete(session: Session, account_id: str, named: str, *, by: str, now: int) -> bool:
    """False if the account has no such key. Forbidden for a key that this one may not delete."""
    key = session.exec(_named(account_id, named)).one_or_none()
    if key is None:
        return False
    _check_rank(key, by)
    return keys.revoke(session, key_id=key.id, now=now)


def _check_rank(key: Key, by: str) -> None:
    """A management key that leaks must not be able to lock out the owner, nor those who could stop it."""
    if key.kind == "owner":
        raise Forbidden("This is the owner's key: it cannot be changed or deleted over the API, only with `tollway key revoke`.")
    if key.kind == "management" and by != "owner":
        raise Forbidden("This is a management key: only the owner's key may change or delete it.")


def _set_limit(session: Session, key: Key, wanted: Change, limit_id: str, now: int) -> None:
    if wanted.limit is UNSET and wanted.reset is UNSET:
        return
    old = session.get(Account, key.limit_id, populate_existing=True) if key.limit_id else None
    amount = (old.overdraft if old else None) if wanted.limit is UNSET else wanted.limit
    if amount is None and wanted.reset not in (None, UNSET):
        raise InvalidKey("limit_reset", "there is no limit to start anew; set one, or leave limit_reset out")
    reset = (old.reset if old and amount is not None else None) if wanted.reset is UNSET else wanted.reset
    if amount is None:
        key.limit_id = None
    elif old is not None and old.reset == reset:
        old.overdraft = amount
    else:
        ledger.open_limit(session, id=limit_id, amount=amount, reset=reset, now=now)
        key.limit_id = limit_id


def _living(account_id: str) -> SelectOfScalar[Key]:
    return select(Key).where(Key.account_id == account_id, col(Key.revoked_at).is_(None))


def _named(account_id: str, named: str) -> SelectOfScalar[Key]:
    return _living(account_id).where(or_(Key.hash == named, Key.id == named))
