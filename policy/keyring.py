"""The keys that wrap the data keys of stored content: from the environment or from files, one current and any number of older ones.

`TOLLWAY_CONTENT_KEYS` is `name:base64 of 32 bytes`, several separated by commas, the first one current: to rotate, put a new one in front
and run `tollway secrets rotate`. An installation that keeps its keys elsewhere (a KMS) writes `name:file:/path`: the file has the base64,
and whatever fetches keys there (an agent, a secrets volume, a service manager's credentials) puts it there. It is read once, at start, so
that no request waits for a KMS and none fails with it; nothing here starts programs.

A key that is derived from TOLLWAY_SECRET_KEY stands behind them all: it wraps where no other is given, and still opens what it wrapped
after one was; those of the secrets before it open, too. A wrapped key begins with the name of the key that wrapped it.
"""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from policy.errors import SealBroken
from policy.keys import derive

DERIVED: Final = "derived"
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
FILE: Final = "file:"
FILE_BYTES_MAX: Final = 1024


class Keyring:
    """Seals and opens data keys of 32 bytes, each for one place; what it gives may be stored.

    `current` is the name of the key that wraps; all of them open, and the `older` ones what was wrapped under the last name.
    """

    def __init__(self, keys: Mapping[str, bytes], random_bytes: Callable[[int], bytes], *, older: Sequence[bytes] = ()) -> None:
        self._ciphers = {name: [AESGCM(key)] for name, key in keys.items()}
        self._ciphers[list(keys)[-1]] += map(AESGCM, older)
        self._random_bytes = random_bytes
        self.current = next(iter(keys))

    def wrap(self, key: bytes, place: bytes) -> bytes:
        nonce = self._random_bytes(NONCE_BYTES)
        return self.current.encode() + b":" + nonce + self._ciphers[self.current][0].encrypt(nonce, key, place)

    def unwrap(self, wrapped: bytes, place: bytes) -> bytes:
        """SealBroken if no key of this name opens it there."""
        name, _, rest = wrapped.partition(b":")
        for cipher in self._ciphers.get(name.decode("ascii", "replace"), ()):
            if (key := _opened(cipher, rest, place)) is not None:
                return key
        raise SealBroken("content_key")

    def is_current(self, wrapped: bytes, place: bytes) -> bool:
        """The key that wraps now has wrapped it: the name alone does not say, as every derived key has the same."""
        name, _, rest = wrapped.partition(b":")
        return name == self.current.encode() and _opened(self._ciphers[self.current][0], rest, place) is not None


def keyring(setting: str, secrets: Sequence[str], random_bytes: Callable[[int], bytes]) -> Keyring:
    """`secrets`: TOLLWAY_SECRET_KEY and those before it. ValueError says what is wrong with the setting; it never quotes a key."""
    given = [_key(each) for each in setting.split(",") if each.strip()]
    derived, *older = (derive(secret, "content-keys") for secret in secrets)
    keys = dict([*given, (DERIVED, derived)])
    if len(keys) <= len(given):
        raise ValueError(f"TOLLWAY_CONTENT_KEYS must give each key a name of its own, and none the name {DERIVED}")
    return Keyring(keys, random_bytes, older=older)


def _opened(cipher: AESGCM, sealed: bytes, place: bytes) -> bytes | None:
    try:
        return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], place)
    except (InvalidTag, ValueError):
        return None


def _key(text: str) -> tuple[str, bytes]:
    name, _, encoded = text.strip().partition(":")
    if encoded.startswith(FILE):
        encoded = _read(encoded.removeprefix(FILE))
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not name.isalnum() or not name.isascii() or len(key) != KEY_BYTES:
        raise ValueError("TOLLWAY_CONTENT_KEYS must be name:key, a name of letters and digits and a key of 32 bytes in base64")
    return name, key


def _read(path: str) -> str:
    """ValueError names the file, never what stands in it."""
    try:
        with Path(path).open("rb") as file:
            return file.read(FILE_BYTES_MAX).decode("ascii", "replace").strip()
    except OSError as error:
        raise ValueError(f"TOLLWAY_CONTENT_KEYS must name a file that can be read: {path}: {error.strerror}") from None
