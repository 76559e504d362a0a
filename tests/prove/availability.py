"""`python -m tests.prove.availability`: one of three providers fails every request, each fault in turn, and clients notice nothing.

Sixteen clients ask 50 times a second, every second time streamed. First all three providers work: that is what is normal. Then `one`
fails: at least 99.9 % of the requests must be answered whole, with at most 1.2 attempts each, and from 10 s on (or once it is left out)
the 99th percentile of the first byte must stay below twice the normal. Then `one` recovers, and must get requests again by itself within
45 s; where it is left alone for 5 minutes (`LATER`) that is not waited for. The short form is `tests/path/test_availability.py`.
Exit status 1 on any violation.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.prove import scorecard
from tests.prove.outage import CHEAPEST, FAULTS, Outage, Shot, Traffic, outage, percentile

SUCCESS_MIN = 0.999
ATTEMPTS_MAX = 1.2
SLOWER_MAX = 2.0
SETTLED_SECONDS = 10.0
BACK_SECONDS_MAX = 45.0
BACK_ANSWERS = 5
"""More than the one probe: it takes part again."""
RETRIED_MAX = 0.01
"""Of the requests of that time: with more, the 99th percentile would be one that had waited for the wrong provider."""
LATER = ("401", CHEAPEST)
"""A refused key is left alone for 5 minutes, and so is who answered less than 95 % of many requests of the last 5 minutes."""
EJECTED = ("stall before headers",)
"""Slow failures: five requests wait there before the first has failed, so it is ejected, and tried again after 10 s. Of quick failures
one or two are enough to put it behind the others for 30 s."""


class Seen(NamedTuple):
    """What one fault did: `normal` and `during` are 99th percentiles of the first byte, seconds; `back` seconds until `one` takes part;
    `retried` the share of the later requests that needed more than one attempt."""

    fault: str
    requests: int
    failed: int
    attempts: float
    normal: float
    during: float
    retried: float
    back: float | None
    wrong: list[str]

    def __str__(self) -> str:
        back = "not waited for" if self.back is None else f"{self.back:.1f} s"
        return (
            f"{self.fault}: {self.requests:,} requests, {self.failed} failed, {self.attempts:.3f} attempts each, p99 first byte "
            f"{self.normal * 1000:.0f} ms, then {self.during * 1000:.0f} ms; back after {back}"
        )


async def broken(place: Outage, fault: str, *, normal_s: float, failing_s: float, settled_s: float, short: bool = False) -> Seen:
    """`settled_s`: how long after the beginning of the fault the first byte must be as fast as before. `short`: only the attempts are
    judged, for a machine that has other things to do, and a return that takes longer than an ejection is not waited for."""
    async with Traffic(place) as traffic:
        await asyncio.sleep(1)  # connections and caches
        quiet = time.monotonic()
        await asyncio.sleep(normal_s)
        place.fail(fault)
        began = time.monotonic()
        await asyncio.sleep(failing_s)
        place.heal()
        later = fault in LATER or (short and fault not in EJECTED)
        back = None if later else await _back(place, time.monotonic())
    shots, settled = traffic.since(began), traffic.since(began + settled_s)
    attempts = await place.attempts([shot.generation_id for shot in shots])
    seen = Seen(
        fault=fault,
        requests=len(shots),
        failed=sum(not shot.ok for shot in shots),
        attempts=sum(attempts.values()) / len(shots),
        normal=percentile(traffic.since(quiet, began - 1), 99),
        during=percentile(settled, 99),
        retried=sum(attempts.get(shot.generation_id, 0) > 1 for shot in settled) / len(settled),
        back=back,
        wrong=[],
    )
    seen.wrong.extend(_judged(seen, [shot for shot in shots if not shot.ok], timed=not short, later=later))
    return seen


def _judged(seen: Seen, failed: list[Shot], *, timed: bool, later: bool) -> Iterator[str]:
    if seen.failed > seen.requests * (1 - SUCCESS_MIN):
        said = Counter((shot.status, shot.said) for shot in failed).most_common(3)
        yield f"{seen.fault}: {seen.failed} of {seen.requests} requests failed: {said}"
    if seen.attempts > ATTEMPTS_MAX:
        yield f"{seen.fault}: {seen.attempts:.3f} attempts per request"
    if seen.retried > RETRIED_MAX:
        yield f"{seen.fault}: {seen.retried:.1%} of the later requests still went to it first"
    if timed and seen.during >= SLOWER_MAX * seen.normal:
        yield f"{seen.fault}: the 99th percentile of the first byte was {seen.during / seen.normal:.2f} times the normal"
    if seen.back is None and not later:
        yield f"{seen.fault}: the provider recovered and got no traffic for {BACK_SECONDS_MAX:.0f} s"


async def _back(place: Outage, healed: float) -> float | None:
    """Seconds until `one` has given several answers again."""
    before = place.served()
    while (elapsed := time.monotonic() - healed) < BACK_SECONDS_MAX:
        await asyncio.sleep(0.2)
        if place.served() - before >= BACK_ANSWERS:
            return elapsed
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20, help="how long each fault lasts")
    parser.add_argument("--only", choices=list(FAULTS), action="append", help="this fault; may be repeated")
    scorecard.option(parser)
    wanted = parser.parse_args()
    start, seen = time.monotonic(), []
    settled = min(SETTLED_SECONDS, wanted.seconds / 2)
    for fault in wanted.only or FAULTS:
        with tempfile.TemporaryDirectory(prefix="tollway-outage-") as folder, outage(Path(folder), cheap=fault == CHEAPEST) as place:
            found = asyncio.run(broken(place, fault, normal_s=8, failing_s=wanted.seconds, settled_s=settled))
            print(found, *found.wrong, sep="\n", flush=True)
            seen.append(found)
    wrong = [each for found in seen for each in found.wrong]
    figures = {
        "Faults": f"{len(seen)}, one of three providers fails every request for {wanted.seconds:.0f} s",
        "Requests": f"{sum(found.requests for found in seen):,} from 16 clients, {sum(found.failed for found in seen)} failed",
        "Attempts per request": f"{max(found.attempts for found in seen):.3f} at most",
        "Violations": f"{len(wrong)}",
        "Duration": scorecard.seconds(time.monotonic() - start),
    }
    print("\n".join(f"{name}: {value}" for name, value in figures.items()))
    if wanted.scorecard:
        scorecard.write("Availability", figures, notes="\n".join(f"- {found}" for found in seen))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
