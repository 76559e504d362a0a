"""Requests and tokens per minute of a key: the rules, written once, over a store that is memory or Redis.

The window slides: it is cut into 60 parts, and a `take` passes if it and everything taken in this part and the 60 before it stay
within the limit. So no window of `window_seconds`, wherever it begins, ever sees more than `limit` taken, and what was taken comes
back at most one part (1/60 of the window) late. Cheaper rules (two weighted buckets, GCRA) can let twice the limit through.

Limits protect, they do not bill: when the store fails, requests pass (`Guard`). Money never does that.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from policy.errors import LimitExceeded

log = logging.getLogger(__name__)

PARTS: Final = 60
MINUTE: Final = 60
PAUSE_MS: Final = 1_000
LOG_EVERY_MS: Final = 60_000


class LimitsUnavailable(Exception):
    """The store did not answer in time, or not as it should."""


class Limits(Protocol):
    """Counts by key. Both verbs raise LimitsUnavailable. Times are Unix times in milliseconds, by the caller's clock."""

    async def take(self, key: str, amount: int, limit: int, window_seconds: int, now_ms: int) -> int | None:
        """None = taken; else nothing was, and after so many seconds (1 or more) it can be. `amount` is at most `limit`."""
        ...

    async def give(self, key: str, amount: int, window_seconds: int, taken_ms: int) -> None:
        """Give back what was taken at `taken_ms` and not used, never below 0. A negative amount adds what was used beyond it."""
        ...

    async def ping(self) -> None: ...

    async def aclose(self) -> None: ...


# Rules


async def admit(
    limits: Limits, key_id: str, *, requests_per_minute: int | None, tokens_per_minute: int | None, tokens: int, now_ms: int
) -> None:
    """Take one request and `tokens` from the limits of a key (None = no limit), both or neither. Raises LimitExceeded."""
    await _take(limits, _requests(key_id), what="requests per minute", amount=1, limit=requests_per_minute, now_ms=now_ms)
    try:
        await _take(limits, _tokens(key_id), what="tokens per minute", amount=tokens, limit=tokens_per_minute, now_ms=now_ms)
    except LimitExceeded:
        if requests_per_minute is not None:
            await limits.give(_requests(key_id), 1, MINUTE, taken_ms=now_ms)
        raise


async def settle_tokens(
    limits: Limits, key_id: str, *, tokens_per_minute: int | None, tokens: int, used: int, taken_ms: int, now_ms: int
) -> None:
    """After the answer: correct what `admit` took as `tokens` at `taken_ms` to what was used. Never refuses."""
    if tokens_per_minute is None or part_of(now_ms, MINUTE) > part_of(taken_ms, MINUTE) + PARTS:
        return
    if unused := min(tokens, tokens_per_minute) - used:
        await limits.give(_tokens(key_id), unused, MINUTE, taken_ms=taken_ms)


async def _take(limits: Limits, key: str, *, what: str, amount: int, limit: int | None, now_ms: int) -> None:
    """A request that is larger than its whole limit could never pass, so it takes all of it, which only an empty window gives."""
    if limit is None:
        return
    retry_after_seconds = await limits.take(key, min(amount, limit), limit, MINUTE, now_ms) if limit > 0 else MINUTE
    if retry_after_seconds is not None:
        raise LimitExceeded(what, limit, retry_after_seconds)


def _requests(key_id: str) -> str:
    return f"requests:{key_id}"


def _tokens(key_id: str) -> str:
    return f"tokens:{key_id}"


class Guard:
    """Limits that fail open: while the store fails, everything passes, is counted in `failures` and logged once a minute.

    After a failure the store is left alone for a second, so that one which hangs does not delay every request by its time-out.
    """

    def __init__(self, store: Limits, now_ms: Callable[[], int]) -> None:
        self.failures = 0
        self._store = store
        self._now_ms = now_ms
        self._paused_until_ms = 0
        self._log_after_ms = 0

    async def take(self, key: str, amount: int, limit: int, window_seconds: int, now_ms: int) -> int | None:
        if self._paused():
            return None
        try:
            return await self._store.take(key, amount, limit, window_seconds, now_ms)
        except LimitsUnavailable as error:
            self._failed(error)
            return None

    async def give(self, key: str, amount: int, window_seconds: int, taken_ms: int) -> None:
        if self._paused():
            return
        try:
            await self._store.give(key, amount, window_seconds, taken_ms)
        except LimitsUnavailable as error:
            self._failed(error)

    async def ping(self) -> None:
        await self._store.ping()

    async def aclose(self) -> None:
        await self._store.aclose()

    def _paused(self) -> bool:
        paused = self._now_ms() < self._paused_until_ms
        self.failures += paused
        return paused

    def _failed(self, error: LimitsUnavailable) -> None:
        now_ms = self._now_ms()
        self.failures += 1
        self._paused_until_ms = now_ms + PAUSE_MS
        if now_ms >= self._log_after_ms:
            self._log_after_ms = now_ms + LOG_EVERY_MS
            log.warning("limits are not enforced, their store fails (%d times so far): %s", self.failures, error)


# Arithmetic of the window, for the stores


def part_of(time_ms: int, window_seconds: int) -> int:
    """The number of the part of a window that a time falls into, counted from 1970."""
    return time_ms * PARTS // (window_seconds * 1000)


def retry_after(counts: Mapping[int, int], amount: int, limit: int, window_seconds: int, now_ms: int) -> int:
    """The seconds, rounded up, until enough of `counts` (part -> taken) has left the window for `amount` to pass."""
    oldest = part_of(now_ms, window_seconds) - PARTS
    counting = {part: taken for part, taken in counts.items() if part >= oldest}
    used = sum(counting.values())
    for part in sorted(counting):
        used -= counting[part]
        if used + amount <= limit:
            gone_ms = -(-(part + PARTS + 1) * window_seconds * 1000 // PARTS)
            return max(1, -(-(gone_ms - now_ms) // 1000))
    return window_seconds
