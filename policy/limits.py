"""Requests and tokens per minute and requests at once, of keys and accounts: the rules, written once, over memory or Redis.

A request is bounded by any number of scopes (its key, its account, the free tier), and takes from all of them or from none, in one
question to the store. A caller without limits has no scopes, and then no store is asked at all.

The window slides: it is cut into 60 parts, and a `take` passes if it and everything taken in this part and the 60 before it stay
within the limit. So no window of `window_seconds`, wherever it begins, ever sees more than `limit` taken, and what was taken comes
back at most one part (1/60 of the window) late. Cheaper rules (two weighted buckets, GCRA) can let twice the limit through.

Limits protect, they do not bill: when the store fails, requests pass (`Guard`). Money never does that.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

from policy.errors import LimitExceeded

log = logging.getLogger(__name__)

PARTS: Final = 60
MINUTE: Final = 60
PAUSE_MS: Final = 1_000
LOG_EVERY_MS: Final = 60_000
LEASE_MS: Final = 30_000
RENEW_SECONDS: Final = 10


class LimitsUnavailable(Exception):
    """The store did not answer in time, or not as it should."""


class Want(NamedTuple):
    """What one request wants of one limit: `amount` (at most `limit`) in a window, or with `holder` one of `limit` places."""

    key: str
    amount: int
    limit: int
    window_seconds: int
    holder: str = ""


class Refusal(NamedTuple):
    """The first want that could not be had, and after how many seconds (1 or more) it can be."""

    position: int
    retry_after_seconds: int


class Give(NamedTuple):
    """What goes back: the part of `amount`, taken at `taken_ms`, that was not used, never below 0 (a negative amount adds what was used
    beyond it); or with `holder` the place it has, which is harmless where it has none."""

    key: str
    amount: int
    window_seconds: int
    taken_ms: int
    holder: str = ""


class Limits(Protocol):
    """Counts by key. All verbs raise LimitsUnavailable. Times are Unix times in milliseconds, by the caller's clock.

    A place is held until it is given back, or until it was not renewed for `LEASE_MS`: so a process that died frees its places.
    The keys of one call are of one account.
    """

    async def take(self, wants: Sequence[Want], now_ms: int) -> Refusal | None:
        """None = all taken; else nothing was."""
        ...

    async def give(self, gives: Sequence[Give]) -> None: ...

    async def renew(self, places: Sequence[tuple[str, str]], now_ms: int) -> None:
        """Keeps the places (key, holder), which may be of several accounts; one that was lost is taken again, even beyond the limit."""
        ...

    async def ping(self) -> None: ...

    async def aclose(self) -> None: ...


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """Limits that bound a request: `whose` is "key", "account" or "free_tier", `id` the key's or the account's. None = no limit."""

    account_id: str
    id: str
    whose: str
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None

    @property
    def limited(self) -> bool:
        return not (self.requests_per_minute is self.tokens_per_minute is self.concurrency is None)

    def key(self, what: str) -> str:
        """The braces keep an account's keys in one slot of a Redis Cluster."""
        return f"{{{self.account_id}}}:{what}:{self.whose}:{self.id}"


# Rules


async def enter(limits: Limits, scopes: Sequence[Scope], *, tokens: int, holder: str, now_ms: int) -> None:
    """Take one request, `tokens` and a place (for `holder`, the generation's id) from every scope, all or nothing.

    Raises LimitExceeded, which names the limit and whose it is.
    """
    wanted = [(scope, what, want) for scope in scopes for what, want in _wants(scope, tokens, holder)]
    refused = next((Refusal(index, MINUTE) for index, (_, _, want) in enumerate(wanted) if want.limit <= 0), None)
    if refused is None and wanted:
        refused = await limits.take([want for _, _, want in wanted], now_ms)
    if refused is not None:
        scope, what, want = wanted[refused.position]
        raise LimitExceeded(what, want.limit, refused.retry_after_seconds, scope.whose)


async def leave(limits: Limits, scopes: Sequence[Scope], *, tokens: int, used: int, holder: str, taken_ms: int, now_ms: int) -> None:
    """After the answer: gives the places back, and corrects the `tokens` of `enter` at `taken_ms` to what was used. Never refuses."""
    countable = part_of(now_ms, MINUTE) <= part_of(taken_ms, MINUTE) + PARTS
    gives = []
    for scope in scopes:
        if scope.concurrency is not None:
            gives.append(Give(scope.key("concurrency"), 1, 0, taken_ms, holder))
        limit = scope.tokens_per_minute if countable else None
        if limit is not None and (unused := min(tokens, limit) - used):
            gives.append(Give(scope.key("tokens"), unused, MINUTE, taken_ms))
    if gives:
        await limits.give(gives)


async def admit(
    limits: Limits, key_id: str, *, requests_per_minute: int | None, tokens_per_minute: int | None, tokens: int, now_ms: int
) -> None:
    """`enter` for a key alone."""
    await enter(limits, (_of_key(key_id, requests_per_minute, tokens_per_minute),), tokens=tokens, holder="", now_ms=now_ms)


async def settle_tokens(
    limits: Limits, key_id: str, *, tokens_per_minute: int | None, tokens: int, used: int, taken_ms: int, now_ms: int
) -> None:
    """`leave` for a key alone."""
    scopes = (_of_key(key_id, None, tokens_per_minute),)
    await leave(limits, scopes, tokens=tokens, used=used, holder="", taken_ms=taken_ms, now_ms=now_ms)


def _of_key(key_id: str, requests_per_minute: int | None, tokens_per_minute: int | None) -> Scope:
    return Scope(account_id="", id=key_id, whose="key", requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute)


def _wants(scope: Scope, tokens: int, holder: str) -> Iterator[tuple[str, Want]]:
    """A request that is larger than its whole limit could never pass, so it takes all of it, which only an empty window gives."""
    if scope.concurrency is not None:
        yield "requests at once", Want(scope.key("concurrency"), 1, scope.concurrency, 0, holder)
    if scope.requests_per_minute is not None:
        yield "requests per minute", Want(scope.key("requests"), 1, scope.requests_per_minute, MINUTE)
    if (limit := scope.tokens_per_minute) is not None:
        yield "tokens per minute", Want(scope.key("tokens"), min(tokens, limit), limit, MINUTE)


class Guard:
    """Limits that fail open: while the store fails, everything passes, is counted in `failures` and logged once a minute.

    After a failure the store is left alone for a second, so that one which hangs does not delay every request by its time-out. The guard
    knows the places that are held through it: `keep_places` renews them, every `RENEW_SECONDS`.
    """

    def __init__(self, store: Limits, now_ms: Callable[[], int]) -> None:
        self.failures = 0
        self._store = store
        self._now_ms = now_ms
        self._paused_until_ms = 0
        self._log_after_ms = 0
        self._places: set[tuple[str, str]] = set()

    async def take(self, wants: Sequence[Want], now_ms: int) -> Refusal | None:
        if self._paused():
            return None
        try:
            refused = await self._store.take(wants, now_ms)
        except LimitsUnavailable as error:
            self._failed(error)
            return None
        if refused is None:
            self._places.update((want.key, want.holder) for want in wants if want.holder)
        return refused

    async def give(self, gives: Sequence[Give]) -> None:
        self._places.difference_update((give.key, give.holder) for give in gives if give.holder)
        if self._paused():
            return
        try:
            await self._store.give(gives)
        except LimitsUnavailable as error:
            self._failed(error)

    async def renew(self, places: Sequence[tuple[str, str]], now_ms: int) -> None:
        if not places or self._paused():
            return
        try:
            await self._store.renew(places, now_ms)
        except LimitsUnavailable as error:
            self._failed(error)

    async def keep_places(self) -> None:
        """In the background. A place that is given back meanwhile stays taken until its lease ends, at most `LEASE_MS`."""
        await self.renew(list(self._places), self._now_ms())

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
