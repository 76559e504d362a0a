"""The one sink for prompts and answers: sealed rows of one account, written only while its choice allows it, deleted for good.

A row is AES-256-GCM under a data key of its account, bound to its place (table, account, generation, data key). The data key is wrapped
by the installation's key (`keyring`). Deleting everything deletes the data keys first: what a backup still holds can then not be read.
Deleting one row or a span removes the rows, and their data key with the last of them: it serves one day, so that days can be shredded.
"""

import zlib
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import text
from sqlmodel import Session, col

from policy import account_privacy
from policy.errors import SealBroken
from policy.keyring import KEY_BYTES, NONCE_BYTES, Keyring
from policy.privacy import Level, keeps_content
from policy.privacy_tables import ContentKey, StoredContent
from providers.content import Content

DAY_MS: Final = 86_400_000
BYTES_MAX: Final = 4 * 2**20
"""Of one generation, before it is packed and sealed; what is longer is not stored at all, and the log says so by its absence."""
PAGE_MAX: Final = 100
DELETED_AT_ONCE: Final = 1000


class Log(NamedTuple):
    """A stored generation without its content."""

    generation_id: str
    key_id: str
    created_at: int
    expires_at: int
    size: int


class Receipt(NamedTuple):
    """What a deletion removed."""

    rows: int
    size: int
    keys: int


def put(
    session: Session,
    *,
    generation_id: str,
    account_id: str,
    key_id: str,
    level: Level,
    content: Content[dict[str, Any]],
    wrapper: Keyring,
    random_bytes: Callable[[int], bytes],
    now: int,
) -> bool:
    """Stores what was asked and answered if the account's choice, read again here and locked until the end, still allows it.

    False if it does not, or if the content is longer than BYTES_MAX.
    """
    _lock(session, account_id)
    choice = account_privacy.of(session, account_id)
    if not keeps_content(choice.privacy, level, key_id=key_id, generation_id=generation_id):
        return False
    raw = msgspec.json.encode(content.reveal())
    if len(raw) > BYTES_MAX:
        return False
    id, key = _day_key(session, account_id, wrapper, random_bytes, now)
    nonce = random_bytes(NONCE_BYTES)
    sealed = nonce + AESGCM(key).encrypt(nonce, zlib.compress(raw, 1), _place(account_id, generation_id, id))
    session.add(
        StoredContent(
            generation_id=generation_id,
            account_id=account_id,
            key_id=key_id,
            content_key_id=id,
            version=choice.version,
            created_at=now,
            expires_at=now + choice.privacy.retention_days * DAY_MS,
            size=len(sealed),
            sealed=sealed,
        )
    )
    return True


def find(session: Session, *, generation_id: str, account_id: str, wrapper: Keyring, now: int) -> Content[dict[str, Any]] | None:
    """None if there is none of this account, or its time is over. SealBroken if it was changed or its key is lost."""
    row = session.get(StoredContent, generation_id)
    if row is None or row.account_id != account_id or row.expires_at <= now:
        return None
    held = session.get(ContentKey, (account_id, row.content_key_id))
    if held is None:
        raise SealBroken("content")
    key = wrapper.unwrap(held.wrapped, key_place(account_id, held.id))
    try:
        raw = AESGCM(key).decrypt(row.sealed[:NONCE_BYTES], row.sealed[NONCE_BYTES:], _place(account_id, generation_id, held.id))
    except (InvalidTag, ValueError):
        raise SealBroken("content") from None
    return Content(msgspec.json.decode(zlib.decompress(raw)))


def page(session: Session, account_id: str, *, before: tuple[int, str] | None, limit: int, now: int) -> list[Log]:
    """Newest first; `before` is the time and id of the last one that was seen."""
    row = StoredContent
    at, id = col(row.created_at), col(row.generation_id)
    wanted = sqlalchemy.select(id, col(row.key_id), at, col(row.expires_at), col(row.size))
    wanted = wanted.where(col(row.account_id) == account_id, col(row.expires_at) > now)
    if before is not None:
        wanted = wanted.where((at < before[0]) | ((at == before[0]) & (id < before[1])))
    found = session.connection().execute(wanted.order_by(at.desc(), id.desc()).limit(limit))
    return [Log(*each) for each in found]


def delete_one(session: Session, account_id: str, generation_id: str) -> Receipt:
    return _deleted(session, account_id, col(StoredContent.generation_id) == generation_id)


def delete_before(session: Session, account_id: str, before: int) -> Receipt:
    """Rows of generations that were stored before the moment (Unix ms)."""
    return _deleted(session, account_id, col(StoredContent.created_at) < before)


def delete_all(session: Session, account_id: str) -> Receipt:
    """The keys first: from then on the rows are noise, whatever becomes of them."""
    _lock(session, account_id)
    keys = session.connection().execute(text("DELETE FROM content_key WHERE account_id = :a RETURNING id"), {"a": account_id}).all()
    receipt = _deleted(session, account_id)
    return receipt._replace(keys=len(keys))


def expire(session: Session, *, now: int) -> int:
    """Removes what has outlived its days, at most DELETED_AT_ONCE rows; how many."""
    found = session.connection().execute(_EXPIRED, {"now": now, "limit": DELETED_AT_ONCE}).all()
    accounts = sorted({row.account_id for row in found})
    for account_id in accounts:
        _lock(session, account_id)
    over = col(StoredContent.generation_id).in_([row.generation_id for row in found])
    gone = session.connection().execute(sqlalchemy.delete(StoredContent).where(over)).rowcount
    for account_id in accounts:
        _drop_unused_keys(session, account_id)
    return gone


def _deleted(session: Session, account_id: str, *where: sqlalchemy.ColumnElement[bool]) -> Receipt:
    _lock(session, account_id)
    statement = sqlalchemy.delete(StoredContent).where(col(StoredContent.account_id) == account_id, *where)
    gone = session.connection().execute(statement.returning(col(StoredContent.size))).scalars().all()
    return Receipt(len(gone), sum(gone), _drop_unused_keys(session, account_id))


def _drop_unused_keys(session: Session, account_id: str) -> int:
    return len(session.connection().execute(_UNUSED, {"account_id": account_id}).all())


def _day_key(session: Session, account_id: str, wrapper: Keyring, random_bytes: Callable[[int], bytes], now: int) -> tuple[str, bytes]:
    id = str(now // DAY_MS)
    held = session.get(ContentKey, (account_id, id))
    if held is not None:
        return id, wrapper.unwrap(held.wrapped, key_place(account_id, id))
    key = random_bytes(KEY_BYTES)
    session.add(ContentKey(account_id=account_id, id=id, wrapped=wrapper.wrap(key, key_place(account_id, id)), created_at=now))
    session.flush()
    return id, key


def _lock(session: Session, account_id: str) -> None:
    """Of an account's changes of its choice, storing and deleting, one goes on at a time: no key is dropped under a row that comes.

    SQLite has one writer anyway. Whoever locks several accounts does so in their order.
    """
    if session.connection().dialect.name == "postgresql":
        session.connection().execute(_LOCK, {"account_id": account_id})


_LOCK: Final = text("SELECT version FROM account_privacy WHERE account_id = :account_id FOR UPDATE")
_EXPIRED: Final = text("SELECT generation_id, account_id FROM content WHERE expires_at <= :now ORDER BY expires_at LIMIT :limit")
_UNUSED: Final = text("""DELETE FROM content_key WHERE account_id = :account_id AND NOT EXISTS
    (SELECT 1 FROM content WHERE content.account_id = content_key.account_id AND content.content_key_id = content_key.id) RETURNING id""")


def _place(account_id: str, generation_id: str, key_id: str) -> bytes:
    return msgspec.json.encode(("content", "sealed", account_id, generation_id, key_id))


def key_place(account_id: str, id: str) -> bytes:
    """Where a data key of an account is wrapped."""
    return msgspec.json.encode(("content_key", "wrapped", account_id, id))
