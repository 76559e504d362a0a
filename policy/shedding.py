"""When a process is too busy to take one more request, decided before anything is held: a clear 503 now is kinder than a late answer.

The figures are those of the table "Load shedding" that this design took over: a stream cap, work that waits longer than a second, an
event loop that is more than a quarter of a second late. Accounts that never paid go first, while a fifth of the cap is still free.
"""

from typing import Final

QUEUE_AGE_MAX_MS: Final = 1_000
LOOP_LAG_MAX_MS: Final = 250
FREE_TIER_PERCENT: Final = 80
RETRY_AFTER_SECONDS: Final = 2
"""Half the figures above are over within a second; more than a few seconds would keep clients away from a healthy process."""


def shed(live: int, live_max: int, queue_age_ms: int, loop_lag_ms: int, free_tier: bool) -> str | None:
    """None = take it; else why not, in words for the 503 (with `Retry-After: RETRY_AFTER_SECONDS`).

    `live` generations run of at most `live_max`; the oldest request that waits for the ledger waits `queue_age_ms`; the event loop's
    last timer came `loop_lag_ms` late.
    """
    if live >= live_max:
        return f"{live_max} generations are running, which is the most this server takes at once"
    if queue_age_ms > QUEUE_AGE_MAX_MS:
        return f"requests wait {queue_age_ms} ms for the ledger"
    if loop_lag_ms > LOOP_LAG_MAX_MS:
        return f"the server is {loop_lag_ms} ms behind"
    if free_tier and live * 100 >= live_max * FREE_TIER_PERCENT:
        return "the server is nearly full, and accounts with paid credit go first"
    return None
