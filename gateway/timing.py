"""Where a request's time went: laps between its stages, told in the Server-Timing header of every answer."""

from typing import Final

HEADER: Final = b"server-timing"


class Timing:
    """Seconds of the loop's clock; `lap` ends a stage."""

    __slots__ = ("_laps", "_last")

    def __init__(self, clock: float) -> None:
        self._last = clock
        self._laps: list[tuple[str, float]] = []

    def lap(self, stage: str, clock: float) -> None:
        self._laps.append((stage, clock - self._last))
        self._last = clock

    def header(self) -> tuple[bytes, bytes]:
        """Milliseconds per stage; a stage that came twice (a second attempt) counts both times."""
        return HEADER, ", ".join(f"{stage};dur={ms:.3f}" for stage, ms in self.milliseconds().items()).encode()

    def milliseconds(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for stage, seconds in self._laps:
            found[stage] = found.get(stage, 0.0) + seconds * 1000
        return found
