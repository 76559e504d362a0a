"""API keys: how they look, how they are made, stored, listed and revoked. The key itself is shown once and never stored.

A key is `sk-tw-v1-` + 40 base62 characters (238 random bits) + 6 base62 characters of CRC-32 over what stands before, so that a
mistyped key is refused without a database, and secret scanners can tell a real key from a look-alike. Stored are its HMAC-SHA-256
under a pepper derived from TOLLWAY_SECRET_KEY, by which it is found, and its plain SHA-256, by which clients name it: at 238 bits
nothing slower is needed, and neither says anything about the key. After a rotation a key is still found under the older peppers, and
hashed anew when it is next used: without the key itself nobody can.
"""

import hashlib
import hmac
import re
import string
import zlib
from collections.abc import Callable
from typing import Final

import msgspec
from sqlalchemy import ColumnElement, func, or_, update
from sqlmodel import Session, col, select

from metering import ledger
from metering.tables import Account
from policy import budgets
from policy.errors import InvalidKey
from policy.privacy import Level
from policy.rights_tables import AccountState
from policy.tables import Key, Member, Project

PREFIX: Final = "sk-tw-v1-"
KINDS: Final = ("owner", "inference", "management")
PER_ACCOUNT_MAX: Final = 1000
"""Keys that an account can have at once; revoked ones do not count."""
NAME_CHARACTERS_MAX: Final = 200
_ALPHABET: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_SHAPE: Final = re.compile(re.escape(PREFIX) + r"[0-9A-Za-z]{46}", re.ASCII)


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """What a key is created with. `limit` in nano-USD, `expires_at` in Unix milliseconds; None = without.

    `logging`: the most that may be kept of its requests, None = the account's own choice; `data_policy` as of `key_policy.written`.
    """

    account_id: str
    kind: str
    name: str
    member_id: str | None = None
    project_id: str | None = None
    limit: int | None = None
    reset: str | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None
    expires_at: int | None = None
    logging: Level | None = None
    data_policy: str | None = None


def derive(secret: str, purpose: str) -> bytes:
    """A 32-byte key for one purpose from TOLLWAY_SECRET_KEY."""
    return hmac.digest(secret.encode(), f"tollway:{purpose}".encode(), hashlib.sha256)


def generate(random_below: Callable[[int], int]) -> str:
    """A new key; `random_below(n)` is a cryptographic random integer below n (`secrets.randbelow`)."""
    body = PREFIX + "".join(_ALPHABET[random_below(62)] for _ in range(40))
    return body + _checksum(body)


def well_formed(token: str) -> bool:
    """Shape and checksum are right; says nothing about whether the key exists."""
    return _SHAPE.fullmatch(token) is not None and token[-6:] == _checksum(token[:-6])


def digest(token: str, pepper: bytes) -> str:
    return hmac.digest(pepper, token.encode(), hashlib.sha256).hex()


def create(session: Session, new: NewKey, *, token: str, pepper: bytes, id: str, now: int) -> Key:
    """Stores a key's hashes; its budget, if any, is an account row of kind `limit`.

    UnknownAccount if the account does not exist, ValueError if the project or the member is not the account's, InvalidKey for a name
    that is too long, or if the account has `PER_ACCOUNT_MAX` keys.
    """
    ledger.locked(session, new.account_id)
    if session.get(AccountState, new.account_id) is not None:
        raise InvalidKey("account", "it is suspended, closing or closed; see `tollway account show`")
    check_name(new.name)
    living = select(func.count()).select_from(Key).where(Key.account_id == new.account_id, col(Key.revoked_at).is_(None))
    if session.exec(living).one() >= PER_ACCOUNT_MAX:
        raise InvalidKey("name", f"the account has {PER_ACCOUNT_MAX} keys, which is the most; delete one first")
    for kind, owner in ((Project, new.project_id), (Member, new.member_id)):
        if owner is not None:
            budgets.check_owned(session, kind, owner, new.account_id)
    limit_id = None
    if new.limit is not None:
        limit_id = id.replace("key_", "lim_", 1)
        ledger.open_limit(session, id=limit_id, amount=new.limit, reset=new.reset, now=now)
    fields = msgspec.structs.asdict(new)
    del fields["limit"], fields["reset"]
    key = Key(
        id=id,
        digest=digest(token, pepper),
        pepper=pepper_name(pepper),
        hash=hashlib.sha256(token.encode()).hexdigest(),
        label=f"{token[:12]}...{token[-4:]}",
        limit_id=limit_id,
        created_at=now,
        **fields,
    )
    session.add(key)
    session.flush()
    return key


def pepper_name(pepper: bytes) -> str:
    """What a row calls the pepper that its digest is under; says nothing about it."""
    return hmac.digest(pepper, b"name", hashlib.sha256)[:8].hex()


def find(session: Session, *digests: str) -> tuple[Key, list[tuple[Account, str]]] | None:
    """The key and every limit that bounds it, each with its scope; None if no such key was ever made.

    `digests` are those of one token under every pepper in force: looking for them all costs one statement.
    """
    key = session.exec(select(Key).where(col(Key.digest).in_(digests)).limit(1)).first()
    if key is None:
        return None
    return key, bounding(session, key)


def bounding(session: Session, key: Key) -> list[tuple[Account, str]]:
    """Every limit that a hold for this key must fit into, each with its scope: the key's own first."""
    own = session.get(Account, key.limit_id) if key.limit_id else None
    subjects = (key.account_id, key.id, *filter(None, (key.project_id, key.member_id)))
    return [*([(own, "key")] if own else []), *budgets.of(session, subjects)]


def rehash(session: Session, *, key_id: str, old: str, new: str, pepper: str) -> bool:
    """Stores a key's digest under another pepper (`pepper_name`); False if somebody else did, or the key is gone."""
    same = (col(Key.id) == key_id, col(Key.digest) == old)
    return session.connection().execute(update(Key).where(*same).values(digest=new, pepper=pepper)).rowcount == 1


def waiting(session: Session, *, pepper: str, now: int, after: str = "", limit: int = PER_ACCOUNT_MAX) -> list[Key]:
    """Keys that could still be used and whose digest is under another pepper than the one of this name, in the order of their ids."""
    wanted = select(Key).where(*_waiting(pepper, now), Key.id > after)
    return list(session.exec(wanted.order_by(col(Key.id)).limit(limit)))


def counted(session: Session, *, pepper: str, now: int) -> tuple[int, int]:
    """Keys that could still be used: those whose digest is under the pepper of this name, and those that are `waiting`."""
    living, behind = (select(func.count()).select_from(Key).where(*which) for which in (_living(now), _waiting(pepper, now)))
    all_of_them, old = session.exec(living).one(), session.exec(behind).one()
    return all_of_them - old, old


def listed(session: Session, account_id: str) -> list[Key]:
    return list(session.exec(select(Key).where(Key.account_id == account_id).order_by(col(Key.created_at), col(Key.id))))


def revoke(session: Session, *, key_id: str, now: int) -> bool:
    """False if there is no such key. Revoking twice keeps the first moment."""
    unrevoked = (col(Key.id) == key_id, col(Key.revoked_at).is_(None))
    session.connection().execute(update(Key).where(*unrevoked).values(revoked_at=now))
    return session.get(Key, key_id) is not None


def check_name(name: str) -> None:
    """InvalidKey for a name that is too long, or that no terminal could show."""
    if len(name) > NAME_CHARACTERS_MAX or not name.isprintable():
        raise InvalidKey("name", f"a key's name has at most {NAME_CHARACTERS_MAX} characters, all of them printable")


def _living(now: int) -> tuple[ColumnElement[bool], ...]:
    return (col(Key.revoked_at).is_(None), or_(col(Key.expires_at).is_(None), col(Key.expires_at) > now))


def _waiting(pepper: str, now: int) -> tuple[ColumnElement[bool], ...]:
    return (*_living(now), or_(col(Key.pepper).is_(None), col(Key.pepper) != pepper))


def _checksum(body: str) -> str:
    value, digits = zlib.crc32(body.encode()), ""
    for _ in range(6):
        value, digit = divmod(value, 62)
        digits = _ALPHABET[digit] + digits
    return digits
