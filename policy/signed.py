"""Short-lived values that a browser keeps for us: readable, but nobody else can make or change one, and none outlives its moment.

A value is base64url(JSON) + `.` + base64url(HMAC-SHA-256) under a key of its purpose, so that what was signed for one purpose is
nothing for another.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

import msgspec

from policy.keys import derive

CHARACTERS_MAX: Final = 4000
_EXPIRES: Final = "exp"


def signed(values: dict[str, str], *, purpose: str, secret: str, expires_at: int | None) -> str:
    """`expires_at` in Unix ms; None = good for as long as the secret is."""
    body = _encoded(msgspec.json.encode({**values, _EXPIRES: "" if expires_at is None else str(expires_at)}))
    return f"{body}.{_encoded(_mac(body, purpose, secret))}"


def opened(text: str, *, purpose: str, secrets: Sequence[str], now: int) -> dict[str, str] | None:
    """None if it was changed, made for something else, or is over. `secrets`: the current one and those before it."""
    body, _, mac = text.partition(".")
    if len(text) > CHARACTERS_MAX or not text.isascii():
        return None
    if not any(hmac.compare_digest(_encoded(_mac(body, purpose, secret)), mac) for secret in secrets):
        return None
    try:
        values = msgspec.json.decode(base64.urlsafe_b64decode(body), type=dict[str, str])
    except (msgspec.DecodeError, binascii.Error):
        return None
    expires = values.pop(_EXPIRES, "0")
    return values if expires == "" or now < int(expires) else None


def _mac(body: str, purpose: str, secret: str) -> bytes:
    return hmac.digest(derive(secret, f"signed:{purpose}"), body.encode(), hashlib.sha256)


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode()
