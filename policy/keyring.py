"""The keys that wrap the data keys of stored content: from the environment, one current and any number of older ones.

`TOLLWAY_CONTENT_KEYS` is `name:base64 of 32 bytes`, several separated by commas, the first one current: to rotate, put a new one in front
and run `tollway privacy rotate`. A key that is derived from TOLLWAY_SECRET_KEY stands behind them all: it wraps where no other is given,
and still opens what it wrapped after one was. A wrapped key begins with the name of the key that
wrapped it. An installation that keeps its keys elsewhere (a KMS) gives a `Wrapper` of its own to `Keyring`.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from policy.errors import SealBroken
from policy.keys import derive

DERIVED: Final = "derived"
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12


class Wrapper(Protocol):
    """Seals and opens a data key of 32 bytes for one place; what it gives may be stored. SealBroken if it does not open."""

    def wrap(self, key: bytes, place: bytes) -> bytes: ...
    def unwrap(self, wrapped: bytes, place: bytes) -> bytes: ...


class Keyring:
    """A Wrapper with keys of its own. `current` is the name of the one that wraps; all of them open."""

    def __init__(self, keys: Mapping[str, bytes], random_bytes: Callable[[int], bytes]) -> None:
        self._ciphers = {name: AESGCM(key) for name, key in keys.items()}
        self._random_bytes = random_bytes
        self.current = next(iter(keys))

    def wrap(self, key: bytes, place: bytes) -> bytes:
        nonce = self._random_bytes(NONCE_BYTES)
        return self.current.encode() + b":" + nonce + self._ciphers[self.current].encrypt(nonce, key, place)

    def unwrap(self, wrapped: bytes, place: bytes) -> bytes:
        name, _, rest = wrapped.partition(b":")
        cipher = self._ciphers.get(name.decode("ascii", "replace"))
        if cipher is None:
            raise SealBroken("content_key")
        try:
            return cipher.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], place)
        except (InvalidTag, ValueError):
            raise SealBroken("content_key") from None

    def is_current(self, wrapped: bytes) -> bool:
        return wrapped.partition(b":")[0] == self.current.encode()


def keyring(setting: str, secret: str, random_bytes: Callable[[int], bytes]) -> Keyring:
    """ValueError says what is wrong with the setting; it never quotes a key."""
    given = [_key(each) for each in setting.split(",") if each.strip()]
    keys = dict([*given, (DERIVED, derive(secret, "content-keys"))])
    if len(keys) <= len(given):
        raise ValueError(f"TOLLWAY_CONTENT_KEYS must give each key a name of its own, and none the name {DERIVED}")
    return Keyring(keys, random_bytes)


def _key(text: str) -> tuple[str, bytes]:
    name, _, encoded = text.strip().partition(":")
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not name.isalnum() or not name.isascii() or len(key) != KEY_BYTES:
        raise ValueError("TOLLWAY_CONTENT_KEYS must be name:key, a name of letters and digits and a key of 32 bytes in base64")
    return name, key
