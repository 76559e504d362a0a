"""Ids of generations and requests. Random bytes are fetched from the system in blocks, because a system call per id is dear."""

import itertools
import os
import string
from typing import Final

BLOCK_BYTES: Final = 4096
_ALNUM: Final = (string.digits + string.ascii_letters).encode()
_TO_ALNUM: Final = bytes(_ALNUM[byte % 62] for byte in range(256))


class Ids:
    """`generation` ids cannot be guessed (20 characters, 118 bits); `request` ids only differ from each other."""

    def __init__(self) -> None:
        self._block = b""
        self._at = 0
        self._boot = os.urandom(6).hex()
        self._count = itertools.count(1)

    def generation(self, now_ms: int) -> str:
        """`gen-<unix seconds>-<20 alphanumeric>`; sorts by time."""
        if self._at + 20 > len(self._block):
            self._block, self._at = os.urandom(BLOCK_BYTES), 0
        random = self._block[self._at : self._at + 20]
        self._at += 20
        return f"gen-{now_ms // 1000}-{random.translate(_TO_ALNUM).decode()}"

    def request(self) -> bytes:
        return f"req_{self._boot}{next(self._count):010x}".encode()
