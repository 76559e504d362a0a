"""Seals again what a secret before the current one has sealed: customers' own provider keys, one-time passwords, keys of content.

Page by page, beside running servers: a row is written only if it still is what was read, so a row that was changed or deleted meanwhile
stays so, a run that was cut off is gone on with by the next, and one more changes nothing. Whoever reads a row in between opens it under
whichever secret it is sealed under. API keys are not here: only their owner has what their digest is made of (`keys.rehash`).
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import TextClause, text
from sqlmodel import Session

from metering.database import Database
from policy import content_store, own_keys, totp, vault
from policy.errors import SealBroken
from policy.keyring import Keyring
from policy.vault import Place

PAGE: Final = 100
NAMED_MAX: Final = 20
"""Rows that do not open are counted, and so many of them named."""


class Kind(NamedTuple):
    """One column of sealed values. `page` gives id, account_id and sealed behind a row; `again` the new value, None if it is current."""

    name: str
    page: TextClause
    write: TextClause
    again: Callable[[Any], Any | None]


class Counted(msgspec.Struct):
    """Rows under the current secret, those that were sealed again just now, those under an older one, and those that do not open."""

    current: int = 0
    rotated: int = 0
    waiting: int = 0
    broken: int = 0
    named: list[str] = []


def kinds(secrets: Sequence[str], ring: Keyring, random_bytes: Callable[[int], bytes]) -> tuple[Kind, ...]:
    """`secrets`: TOLLWAY_SECRET_KEY and those before it."""

    def vaulted(place: Callable[[Any], Place]) -> Callable[[Any], str | None]:
        return lambda row: vault.resealed(row.sealed, place(row), secrets=secrets, random_bytes=random_bytes)

    def wrapped(row: Any) -> bytes | None:
        place = content_store.key_place(row.account_id, row.id)
        return None if ring.is_current(row.sealed, place) else ring.wrap(ring.unwrap(row.sealed, place), place)

    return (
        Kind("provider_keys", _PROVIDER_KEYS, _WRITE_PROVIDER_KEY, vaulted(lambda row: own_keys.place(row.id, row.account_id))),
        Kind("one_time_passwords", _TOTPS, _WRITE_TOTP, vaulted(lambda row: totp.place(row.id))),
        Kind("content_keys", _CONTENT_KEYS, _WRITE_CONTENT_KEY, wrapped),
    )


async def walk(database: Database, kind: Kind, *, write: bool) -> Counted:
    """All rows of a kind; without `write` they are only counted."""
    counted, account_id, id = Counted(named=[]), "", ""
    while rows := await database.read(_page, kind, account_id, id):
        changes = [change for row in rows if (change := _change(kind, row, counted)) is not None]
        if write and changes:
            done = await database.write(_written, kind, changes)
            counted.waiting, counted.rotated = counted.waiting - len(changes), counted.rotated + done
        account_id, id = rows[-1].account_id, rows[-1].id
    counted.current += counted.rotated
    return counted


def _change(kind: Kind, row: Any, counted: Counted) -> dict[str, Any] | None:
    try:
        new = kind.again(row)
    except SealBroken:
        counted.broken += 1
        counted.named += [f"{kind.name}: {row.id} of {row.account_id}"] if len(counted.named) < NAMED_MAX else []
        return None
    if new is None:
        counted.current += 1
        return None
    counted.waiting += 1
    return {"account_id": row.account_id, "id": row.id, "old": row.sealed, "new": new}


def _page(session: Session, kind: Kind, account_id: str, id: str) -> Sequence[Any]:
    return session.connection().execute(kind.page, {"account_id": account_id, "id": id, "rows": PAGE}).all()


def _written(session: Session, kind: Kind, changes: list[dict[str, Any]]) -> int:
    return sum(session.connection().execute(kind.write, change).rowcount for change in changes)


_PROVIDER_KEYS: Final = text("""SELECT id, account_id, sealed FROM provider_key
    WHERE revoked_at IS NULL AND (account_id, id) > (:account_id, :id) ORDER BY account_id, id LIMIT :rows""")
_WRITE_PROVIDER_KEY: Final = text("UPDATE provider_key SET sealed = :new WHERE account_id = :account_id AND id = :id AND sealed = :old")
_TOTPS: Final = text("""SELECT id, id AS account_id, totp AS sealed FROM person
    WHERE totp IS NOT NULL AND (id, id) > (:account_id, :id) ORDER BY id LIMIT :rows""")
_WRITE_TOTP: Final = text("UPDATE person SET totp = :new WHERE id = :account_id AND id = :id AND totp = :old")
_CONTENT_KEYS: Final = text("""SELECT id, account_id, wrapped AS sealed FROM content_key
    WHERE (account_id, id) > (:account_id, :id) ORDER BY account_id, id LIMIT :rows""")
_WRITE_CONTENT_KEY: Final = text("UPDATE content_key SET wrapped = :new WHERE account_id = :account_id AND id = :id AND wrapped = :old")
