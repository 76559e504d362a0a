"""Where a request's time went: laps between its stages, told in the Server-Timing header of every answer."""

import time
from collections.abc import Callable
from typing import Final

HEADER: Final = b"server-timing"


class Timing:
    """`lap` ends a stage. `clock` gives seconds; the loop's own would only tell whole milliseconds."""

    __slots__ = ("_clock", "_laps", "_last")

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._last = clock()
        self._laps: list[tuple[str, float]] = []

    def lap(self, stage: str) -> None:
        now = self._clock()
        self._laps.append((stage, now - self._last))
        self._last = now

    @property
    def laps(self) -> list[tuple[str, float]]:
        """(stage, seconds) in the order in which they ended; they leave no gap."""
        return self._laps

    def seconds(self, stage: str) -> float | None:
        """Of a stage that comes once; None if it was not reached."""
        for found, seconds in self._laps:
            if found == stage:
                return seconds
        return None

    def header(self) -> tuple[bytes, bytes]:
        """Milliseconds per stage; a stage that came twice (a second attempt) counts both times."""
        return HEADER, ", ".join([f"{stage};dur={ms:.3f}" for stage, ms in self.milliseconds().items()]).encode()

    def milliseconds(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for stage, seconds in self._laps:
            found[stage] = found.get(stage, 0.0) + seconds * 1000
        return found
