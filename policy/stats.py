"""What routing knows of an endpoint's last minutes: the figures that health keeps and ranking reads."""

from typing import Final

import msgspec


class Percentiles(msgspec.Struct, frozen=True):
    """Seconds to the first byte, or completion tokens per second, over the last 5 minutes.

    At pN are N % of the answers at least this good: latency no longer, throughput no lower. So p99 is the worse end of both.
    """

    p50: float
    p75: float
    p90: float
    p99: float


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """None = not known, which is never held against an endpoint.

    `ejected`: it failed several times in a row and is left out for a while; with `probe` one live request may try it now. `outage`:
    it failed within the last 30 s and has not answered since. `uptime` is a share, 0 to 1. `key_refused`: it does not take the key.
    """

    ejected: bool = False
    probe: bool = False
    outage: bool = False
    uptime: float | None = None
    latency: Percentiles | None = None
    throughput: Percentiles | None = None
    in_flight: int = 0
    key_refused: bool = False


DEFAULT: Final = Stats()
"""An endpoint that nothing is known of."""
