"""Passwords: Argon2id in threads of bounded number, a closed list of common ones, and the same time for people who do not exist.

Parameters are the floor of the OWASP Password Storage Cheat Sheet (19 MiB, 2 rounds, 1 lane); a hash that was made with others is made
anew at the next sign-in. A password is compared in NFKC, so that the same keys on another keyboard give the same password.
"""

import asyncio
import base64
import re
import unicodedata
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from policy.errors import InvalidField, TooManyAttempts

if TYPE_CHECKING:
    from argon2 import PasswordHasher

T = TypeVar("T")
MEMORY_KIB: Final = 19_456
ROUNDS: Final = 2
LANES: Final = 1
CHARACTERS_MIN: Final = 12
CHARACTERS_MAX: Final = 200
AT_ONCE: Final = 2
"""Hashes that are computed at the same time: each takes 19 MiB and a processor for some 20 ms."""
WAITING_MAX: Final = 200
_AROUND: Final = re.compile(r"^[\d\W_]+|[\d\W_]+$")
_NOTHING: Final = tuple(base64.b64encode(bytes(length)).decode().rstrip("=") for length in (16, 32))
_NOBODY: Final = f"$argon2id$v=19$m={MEMORY_KIB},t={ROUNDS},p={LANES}${_NOTHING[0]}${_NOTHING[1]}"
"""No password has this hash; comparing with it takes as long as with a real one."""


class Checked(msgspec.Struct, frozen=True):
    """`renewed`: the hash to store from now on, if the parameters have changed since the stored one was made."""

    right: bool
    renewed: str | None = None


class Passwords:
    """TooManyAttempts from both methods when more than `WAITING_MAX` wait for their turn."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    async def hash(self, password: str) -> str:
        return await self._in_thread(lambda: _hasher().hash(_same(password)))

    async def check(self, password: str, stored: str | None) -> Checked:
        """`stored` None: somebody without a password, or nobody at all; it takes as long."""
        return await self._in_thread(lambda: _compared(_same(password), stored))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._waiting >= WAITING_MAX:
            raise TooManyAttempts(1)
        self._waiting += 1
        try:
            async with self._places:
                return await asyncio.to_thread(work)
        finally:
            self._waiting -= 1


def check_rules(password: str, *, email: str, field: str = "password") -> None:
    """InvalidField unless it is long enough, no common password with something around it, and not the address."""
    plain = _same(password).lower()
    if len(plain) < CHARACTERS_MIN:
        raise InvalidField(field, f"must have {CHARACTERS_MIN} characters or more; several words are easy to remember")
    if len(plain) > CHARACTERS_MAX:
        raise InvalidField(field, f"must have {CHARACTERS_MAX} characters or less")
    if plain in (email.lower(), email.lower().partition("@")[0]):
        raise InvalidField(field, "must not be your e-mail address")
    if _is_common(plain):
        raise InvalidField(field, "is among the passwords that are tried first; choose another one")


def _is_common(plain: str) -> bool:
    """Also a common one with digits and signs around it, and something short again and again."""
    bare = _AROUND.sub("", plain)
    return bool({plain, bare, _unit(plain), _unit(bare)} & (common() | {"tollway", ""})) or len(_unit(plain)) <= 3


def _unit(text: str) -> str:
    """`abc` of `abcabcabc`; a text that repeats nothing is its own unit."""
    return text[: (text + text).find(text, 1)] if text else text


@cache
def common() -> frozenset[str]:
    """In lower case; source and licence stand in the file."""
    lines = (Path(__file__).parent / "common_passwords.txt").read_text().splitlines()
    return frozenset(line for line in lines if not line.startswith("#"))


def _compared(password: str, stored: str | None) -> Checked:
    from argon2.exceptions import InvalidHashError, VerificationError

    hasher = _hasher()
    try:
        hasher.verify(stored or _NOBODY, password)
    except (VerificationError, InvalidHashError):
        return Checked(False)
    if stored is None:
        return Checked(False)
    return Checked(True, hasher.hash(password) if hasher.check_needs_rehash(stored) else None)


@cache
def _hasher() -> "PasswordHasher":
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=ROUNDS, memory_cost=MEMORY_KIB, parallelism=LANES)


def _same(password: str) -> str:
    """Longer than allowed is cut, so that nobody can make hashing dear; no stored password is that long."""
    return unicodedata.normalize("NFKC", password[: CHARACTERS_MAX + 1])
