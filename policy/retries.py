"""The retry budget: how many of a provider's requests may be retries, so that the trouble of others is not multiplied there.

A fifth of its requests of the last ten seconds, and ten a second beyond that: Finagle's budget (`percentCanRetry` 0.2,
`minRetriesPerSec` 10, `ttl` 10 s). A retry is any attempt after a request's first, counted at the provider that it goes to. Envoy's
budget, a fifth of what is active at this moment and at least three, was measured first and refuses the wrong ones: when the cheapest of
three providers falls silent, most requests wait there and then time out together, while hardly any is active elsewhere, so 8 of the 16
failed that two healthy providers could have served (`tests.prove.availability`, "stall of the cheapest").

These are plain counters of this process: what other processes do is in the provider's 429s and in its health.
"""

from collections.abc import Callable
from typing import Final

from policy.health import monotonic_ms

PERCENT: Final = 20
ALWAYS_PER_SECOND: Final = 10
WINDOW_SECONDS: Final = 10
ALWAYS: Final = ALWAYS_PER_SECOND * WINDOW_SECONDS


class Retries:
    """A row of `WINDOW_SECONDS` counts per provider that ever got a request, so it is bounded by the catalog.

    `refused` counts the retries that found no provider with room; who asks `may_retry` adds to it.
    """

    def __init__(self, now_ms: Callable[[], int] = monotonic_ms) -> None:
        self._now_ms = now_ms
        self._seconds: dict[str, dict[int, list[int]]] = {}
        self.refused = 0

    def may_retry(self, provider: str) -> bool:
        """May one more retry go to this provider now? Ask and `started(provider, retry=True)` with no await in between."""
        firsts, retries = self.recent(provider)
        return retries < ALWAYS or (retries - ALWAYS) * 100 < firsts * PERCENT

    def started(self, provider: str, *, retry: bool = False) -> None:
        seconds, now = self._seconds.setdefault(provider, {}), self._now_ms() // 1000
        counts = seconds.get(now)
        if counts is None:
            for second in [second for second in seconds if second <= now - WINDOW_SECONDS]:
                del seconds[second]
            counts = seconds[now] = [0, 0]
        counts[retry] += 1

    def recent(self, provider: str) -> tuple[int, int]:
        """(first attempts, retries) of this second and the nine before it."""
        oldest = self._now_ms() // 1000 - WINDOW_SECONDS
        recent = [counts for second, counts in self._seconds.get(provider, {}).items() if second > oldest]
        return sum(firsts for firsts, _ in recent), sum(retries for _, retries in recent)
