"""Limits in this process alone: exact for one worker, and bounded however many keys come by."""

from collections import OrderedDict
from typing import Final

from policy.limits import PARTS, part_of, retry_after

KEYS_MAX: Final = 100_000


class MemoryLimits:
    """Keys in the order of their last `take`: the front is what has expired or, at `keys_max`, what may be forgotten first."""

    def __init__(self, keys_max: int = KEYS_MAX) -> None:
        self._keys_max = keys_max
        self._keys: OrderedDict[str, _Counts] = OrderedDict()

    def __len__(self) -> int:
        return len(self._keys)

    async def take(self, key: str, amount: int, limit: int, window_seconds: int, now_ms: int) -> int | None:
        counts = self._keys.get(key) or self._new(key, now_ms)
        self._keys.move_to_end(key)
        part = part_of(now_ms, window_seconds)
        counts.drop_before(part - PARTS)
        if counts.used + amount > limit:
            return retry_after(counts.parts, amount, limit, window_seconds, now_ms)
        counts.add(part, amount)
        counts.expires_ms = max(counts.expires_ms, now_ms + 2 * window_seconds * 1000)
        return None

    async def give(self, key: str, amount: int, window_seconds: int, taken_ms: int) -> None:
        if counts := self._keys.get(key):
            part = part_of(taken_ms, window_seconds)
            counts.add(part, -min(amount, counts.parts.get(part, 0)))

    async def ping(self) -> None:
        pass

    async def aclose(self) -> None:
        self._keys.clear()

    def _new(self, key: str, now_ms: int) -> "_Counts":
        while self._keys:
            oldest, counts = next(iter(self._keys.items()))
            if len(self._keys) < self._keys_max and counts.expires_ms > now_ms:
                break
            del self._keys[oldest]
        self._keys[key] = _Counts()
        return self._keys[key]


class _Counts:
    """What was taken of one key, by part of its window; `used` is the sum."""

    __slots__ = ("expires_ms", "parts", "used")

    def __init__(self) -> None:
        self.parts: dict[int, int] = {}
        self.used = 0
        self.expires_ms = 0

    def add(self, part: int, amount: int) -> None:
        self.parts[part] = self.parts.get(part, 0) + amount
        self.used += amount

    def drop_before(self, oldest: int) -> None:
        for part in [part for part in self.parts if part < oldest]:
            self.used -= self.parts.pop(part)
