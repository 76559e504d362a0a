"""Seals secrets for the database with AES-256-GCM: what was sealed for one place and one account opens nowhere else.

A sealed text is `v1:` + base64url(96-bit nonce + ciphertext + 128-bit tag). The key is the account's own, derived from
TOLLWAY_SECRET_KEY; what was sealed under a secret before it still opens.
The place (table, column, row, account) is authenticated, so a sealed text that is moved to another row does not open there. A random
nonce is safe for 2^32 texts per account (NIST SP 800-38D, 8.3), far more than its bounds allow.
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from policy import keys
from policy.errors import SealBroken

VERSION: Final = "v1:"
NONCE_BYTES: Final = 12


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a sealed text stands, which is the only place where it opens."""

    table: str
    column: str
    row_id: str
    account_id: str


def seal(text: str, place: Place, *, secret: str, random_bytes: Callable[[int], bytes]) -> str:
    """`random_bytes(n)` gives n cryptographic random bytes (`secrets.token_bytes`); `secret` is TOLLWAY_SECRET_KEY."""
    nonce = random_bytes(NONCE_BYTES)
    sealed = _cipher(place, secret).encrypt(nonce, text.encode(), _bound_to(place))
    return VERSION + base64.urlsafe_b64encode(nonce + sealed).decode()


def unseal(sealed: str, place: Place, *, secrets: Sequence[str]) -> str:
    """`secrets`: TOLLWAY_SECRET_KEY and those before it, which are tried in turn.

    SealBroken for a text that was changed, stands elsewhere, belongs to another account or was sealed under another secret.
    """
    for secret in secrets:
        if (text := _opened(sealed, place, secret)) is not None:
            return text
    raise SealBroken(place.table) from None


def resealed(sealed: str, place: Place, *, secrets: Sequence[str], random_bytes: Callable[[int], bytes]) -> str | None:
    """The same text sealed under the first of the secrets; None if it is already. SealBroken."""
    if _opened(sealed, place, secrets[0]) is not None:
        return None
    return seal(unseal(sealed, place, secrets=secrets[1:]), place, secret=secrets[0], random_bytes=random_bytes)


def _opened(sealed: str, place: Place, secret: str) -> str | None:
    version, raw = sealed[: len(VERSION)], sealed[len(VERSION) :]
    if version != VERSION:
        return None
    try:
        whole = base64.b64decode(raw.encode(), altchars=b"-_", validate=True)
        return _cipher(place, secret).decrypt(whole[:NONCE_BYTES], whole[NONCE_BYTES:], _bound_to(place)).decode()
    except (InvalidTag, binascii.Error, ValueError):
        return None


def _cipher(place: Place, secret: str) -> AESGCM:
    return AESGCM(keys.derive(secret, f"vault:{place.account_id}"))


def _bound_to(place: Place) -> bytes:
    """JSON, so that no two places are spelled alike."""
    return msgspec.json.encode((place.table, place.column, place.row_id, place.account_id))
