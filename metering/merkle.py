"""A Merkle tree as in RFC 6962, 2.1: one hash stands for all leaves, and a short path proves that a leaf is among them.

A leaf hashes as SHA-256(0x00 + leaf), a node as SHA-256(0x01 + left + right), the tree without leaves as SHA-256 of nothing.
"""

import hashlib
from collections.abc import Sequence


def leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


class Tree:
    """Built from the hashes of its leaves, in their order; keeps all its nodes: 32 bytes each, twice as many as leaves."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self._levels = [list(leaves)]
        while len(level := self._levels[-1]) > 1:
            pairs = [_node(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
            self._levels.append(pairs + level[len(pairs) * 2 :])  # an odd last one goes up as it is

    @property
    def root(self) -> bytes:
        return self._levels[-1][0] if self._levels[-1] else hashlib.sha256(b"").digest()

    def path(self, index: int) -> list[bytes]:
        """The neighbours of a leaf and of the nodes above it, from below: what `root_of` needs. IndexError if there is no such leaf."""
        if not 0 <= index < len(self._levels[0]):
            raise IndexError(index)
        found = []
        for level in self._levels[:-1]:
            if index ^ 1 < len(level):
                found.append(level[index ^ 1])
            index //= 2
        return found


def root_of(hashed: bytes, *, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root of a tree of `size` leaves that has this leaf at `index` (RFC 9162, 2.1.3.2); None if the path cannot belong to one."""
    if not 0 <= index < size:
        return None
    last = size - 1
    for neighbour in path:
        if last == 0:
            return None
        while index % 2 == 0 and index == last:  # an odd last node went up as it was
            index, last = index // 2, last // 2
        hashed = _node(neighbour, hashed) if index % 2 else _node(hashed, neighbour)
        index, last = index // 2, last // 2
    return hashed if last == 0 else None


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()
