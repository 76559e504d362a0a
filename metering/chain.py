"""The hash chain of one account's entries: what exactly is hashed, so that anybody can compute it again from a proof file.

A message is its fields one after another, each as `<bytes of its UTF-8>:<UTF-8>,` and an absent one as `-`, so that no two lists of
fields give the same bytes. Numbers are decimal text, amounts nano-USD, times Unix milliseconds, hashes lower-case hexadecimal.

    hash before the first entry   SHA-256(message("tollway-chain-1", account_id))
    hash of an entry              SHA-256(hash before it (32 bytes) + message("tollway-entry-1", account_id, seq, transaction_id,
                                                                              kind, amount, reason, at))
"""

import hashlib
from typing import Annotated

from msgspec import Meta

Hash = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]


def message(*fields: str | None) -> bytes:
    return "".join(["-" if field is None else f"{_size(field)}:{field}," for field in fields]).encode()


def genesis(account_id: str) -> str:
    """What the first entry of an account (seq 1) is chained to."""
    return hashlib.sha256(message("tollway-chain-1", account_id)).hexdigest()


def link(before: str, *, account_id: str, seq: int, transaction_id: str, kind: str, amount: int, reason: str | None, at: int) -> str:
    """The hash of an entry whose predecessor's hash is `before`."""
    entry = message("tollway-entry-1", account_id, str(seq), transaction_id, kind, str(amount), reason, str(at))
    return hashlib.sha256(bytes.fromhex(before) + entry).hexdigest()


def _size(field: str) -> int:
    return len(field) if field.isascii() else len(field.encode())
