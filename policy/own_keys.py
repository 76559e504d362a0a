"""Customers' own keys at providers: added, listed by their ends, revoked; stored sealed, and opened only for the attempt that uses one."""

import re
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from sqlalchemy import update
from sqlmodel import Session, col, select

from metering import ledger
from policy import vault
from policy.errors import InvalidOwnKey
from policy.tables import ProviderKey
from policy.vault import Place

KEYS_MAX: Final = 50
CHARACTERS_MIN: Final = 8
CHARACTERS_MAX: Final = 4096
SHOWN_MAX: Final = 4
_TEXT: Final = re.compile(rf"[!-~]{{{CHARACTERS_MIN},{CHARACTERS_MAX}}}", re.ASCII)


class Sealed(msgspec.Struct, frozen=True):
    """The sealed texts of an account's keys, each with its key's id."""

    texts: tuple[tuple[str, str], ...] = ()

    def open(self, id: str, account_id: str, *, secrets: Sequence[str]) -> str:
        """The key itself; `secrets` as in `vault.unseal`. SealBroken, also if there is none of this id."""
        sealed = next((text for key_id, text in self.texts if key_id == id), "")
        return vault.unseal(sealed, place(id, account_id), secrets=secrets)

    def __repr__(self) -> str:
        return f"Sealed(<{len(self.texts)} keys>)"


NOTHING_SEALED: Final = Sealed()


def add(
    session: Session, *, id: str, account_id: str, provider: str, text: str, secret: str, random_bytes: Callable[[int], bytes], now: int
) -> ProviderKey:
    """Stores the key `text` sealed; `provider` is a slug that the caller has checked. InvalidOwnKey names the field; UnknownAccount."""
    if not _TEXT.fullmatch(text):
        raise InvalidOwnKey("key", f"must be {CHARACTERS_MIN} to {CHARACTERS_MAX} printable ASCII characters without spaces")
    ledger.locked(session, account_id)  # two requests at once must not both find a free place
    active = listed(session, account_id)
    if any(key.provider == provider for key in active):
        raise InvalidOwnKey("provider", f"the account has a key for {provider}; delete that one first")
    if len(active) >= KEYS_MAX:
        raise InvalidOwnKey("provider", f"the account has {KEYS_MAX} keys, which is the most; delete one first")
    sealed = vault.seal(text, place(id, account_id), secret=secret, random_bytes=random_bytes)
    key = ProviderKey(id=id, account_id=account_id, provider=provider, label=label(text), sealed=sealed, created_at=now)
    session.add(key)
    session.flush()
    return key


def listed(session: Session, account_id: str) -> list[ProviderKey]:
    """Those in use, at most `KEYS_MAX`, oldest first."""
    active = (ProviderKey.account_id == account_id, col(ProviderKey.revoked_at).is_(None))
    return list(session.exec(select(ProviderKey).where(*active).order_by(col(ProviderKey.created_at), col(ProviderKey.id))))


def of(session: Session, account_id: str) -> list[tuple[str, str, str]]:
    """(provider slug, id, sealed text) of each key in use."""
    return [(key.provider, key.id, key.sealed) for key in listed(session, account_id)]


def revoke(session: Session, *, id: str, account_id: str, now: int) -> bool:
    """Forgets the sealed text too. False if the account has no such key; revoking twice keeps the first moment."""
    key = session.get(ProviderKey, id)
    if key is None or key.account_id != account_id:
        return False
    unrevoked = (col(ProviderKey.id) == id, col(ProviderKey.revoked_at).is_(None))
    session.connection().execute(update(ProviderKey).where(*unrevoked).values(revoked_at=now, sealed=""))
    return True


def label(text: str) -> str:
    """The ends of a key, a quarter of it at most: what its owner knows it by."""
    shown = min(SHOWN_MAX, len(text) // 8)
    return f"{text[:shown]}...{text[-shown:]}"


def place(id: str, account_id: str) -> Place:
    """Where an account's key is sealed."""
    return Place(table="provider_key", column="sealed", row_id=id, account_id=account_id)
