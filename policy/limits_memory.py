"""Limits in this process alone: exact for one worker, and bounded however many keys come by."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from policy.limits import LEASE_MS, PARTS, Give, Refusal, Want, part_of, retry_after

KEYS_MAX: Final = 100_000


class MemoryLimits:
    """Keys in the order of their last `take`: the front is what has expired or, at `keys_max`, what may be forgotten first."""

    def __init__(self, keys_max: int = KEYS_MAX) -> None:
        self._keys_max = keys_max
        self._keys: OrderedDict[str, _Counts] = OrderedDict()

    def __len__(self) -> int:
        return len(self._keys)

    async def take(self, wants: Sequence[Want], now_ms: int) -> Refusal | None:
        for index, want in enumerate(wants):
            wait_seconds = self._wait(want, now_ms)
            if wait_seconds is not None:
                return Refusal(index, wait_seconds)
        for want in wants:
            counts = self._of(want.key, now_ms)
            if want.holder:
                counts.places[want.holder] = now_ms + LEASE_MS
                lifetime_ms = LEASE_MS
            else:
                counts.add(part_of(now_ms, want.window_seconds), want.amount)
                lifetime_ms = 2 * want.window_seconds * 1000
            counts.expires_ms = max(counts.expires_ms, now_ms + lifetime_ms)
        return None

    async def give(self, gives: Sequence[Give]) -> None:
        for give in gives:
            counts = self._keys.get(give.key)
            if counts is None:
                continue
            if give.holder:
                counts.places.pop(give.holder, None)
            else:
                part = part_of(give.taken_ms, give.window_seconds)
                counts.add(part, -min(give.amount, counts.parts.get(part, 0)))

    async def renew(self, places: Sequence[tuple[str, str]], now_ms: int) -> None:
        for key, holder in places:
            counts = self._of(key, now_ms)
            counts.places[holder] = now_ms + LEASE_MS
            counts.expires_ms = max(counts.expires_ms, now_ms + LEASE_MS)

    async def ping(self) -> None:
        pass

    async def aclose(self) -> None:
        self._keys.clear()

    def _wait(self, want: Want, now_ms: int) -> int | None:
        """None = it can be had now; else in how many seconds."""
        counts = self._of(want.key, now_ms)
        if want.holder:
            counts.drop_leases_until(now_ms)
            return None if len(counts.places) < want.limit or want.holder in counts.places else 1
        counts.drop_before(part_of(now_ms, want.window_seconds) - PARTS)
        if counts.used + want.amount <= want.limit:
            return None
        return retry_after(counts.parts, want.amount, want.limit, want.window_seconds, now_ms)

    def _of(self, key: str, now_ms: int) -> "_Counts":
        counts = self._keys.get(key) or self._new(key, now_ms)
        self._keys.move_to_end(key)
        return counts

    def _new(self, key: str, now_ms: int) -> "_Counts":
        while self._keys:
            oldest, counts = next(iter(self._keys.items()))
            if len(self._keys) < self._keys_max and counts.expires_ms > now_ms:
                break
            del self._keys[oldest]
        self._keys[key] = _Counts()
        return self._keys[key]


class _Counts:
    """What was taken of one key, by part of its window (`used` is the sum), or who holds its places until when."""

    __slots__ = ("expires_ms", "parts", "places", "used")

    def __init__(self) -> None:
        self.parts: dict[int, int] = {}
        self.places: dict[str, int] = {}
        self.used = 0
        self.expires_ms = 0

    def add(self, part: int, amount: int) -> None:
        self.parts[part] = self.parts.get(part, 0) + amount
        self.used += amount

    def drop_before(self, oldest: int) -> None:
        for part in [part for part in self.parts if part < oldest]:
            self.used -= self.parts.pop(part)

    def drop_leases_until(self, now_ms: int) -> None:
        for holder in [holder for holder, until_ms in self.places.items() if until_ms <= now_ms]:
            del self.places[holder]
