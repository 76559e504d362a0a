"""The retry budget: how many of a provider's active requests may be retries, so that its trouble is not multiplied by ours.

A fifth of the active requests, and at least three at once: Envoy's retry budget (`budget_percent` 20, `min_retry_concurrency` 3;
Finagle's is 20 % too). A retry is any attempt after a request's first, counted at the provider that it goes to. These are plain counters
of this process: what other processes do is in the provider's 429s and in its health.
"""

from typing import Final

PERCENT: Final = 20
ALWAYS: Final = 3


class Retries:
    """Holds one row per provider with active requests, and none for others, so it is bounded by what runs."""

    def __init__(self) -> None:
        self._active: dict[str, list[int]] = {}

    def may_retry(self, provider: str) -> bool:
        """May one more retry go to this provider now? Ask and `started(provider, retry=True)` with no await in between."""
        active, retries = self._active.get(provider, (0, 0))
        return retries < ALWAYS or retries * 100 < active * PERCENT

    def started(self, provider: str, *, retry: bool = False) -> None:
        counts = self._active.setdefault(provider, [0, 0])
        counts[0] += 1
        counts[1] += retry

    def ended(self, provider: str, *, retry: bool = False) -> None:
        """Exactly once for each `started`, with the same `retry`."""
        counts = self._active[provider]
        counts[0] -= 1
        counts[1] -= retry
        if counts[0] == 0:
            del self._active[provider]

    def active(self, provider: str) -> tuple[int, int]:
        """(all active requests, those of them that are retries)."""
        active, retries = self._active.get(provider, (0, 0))
        return active, retries
