"""Seals entry after entry, in short transactions: what is new once a second, what came late a little later, all there is on demand."""

import asyncio
from typing import Final

from metering import seal
from metering.database import Database
from metering.money import now_ms
from metering.seal import BEGIN, Cursor

ROWS_MAX_SQLITE: Final = 250
"""Entries per transaction where requests wait for the same writer: measured, 3.7 ms of processor time and one wait for the disk."""
ROWS_MAX: Final = 2000
WINDOW: Final = 2000
"""Entries looked at in one transaction."""
PAUSE_SECONDS: Final = 0.005
"""Between two windows, so that a long sweep leaves requests the processor."""
LOOK_BACK_MS: Final = 60_000
"""An entry is as old as its batch's beginning by its server's clock: one may appear below others by a long statement or a wrong clock."""
LOOK_BACK_EVERY: Final = 15
"""Steps between two looks back."""


class Sealer:
    """Remembers how far it has looked. `rows_max`: entries sealed in one transaction."""

    def __init__(self, database: Database, *, rows_max: int) -> None:
        self._database = database
        self._rows_max = rows_max
        self._after: Cursor | None = None
        self._steps = 0

    async def step(self) -> int:
        """Seals what is new since the last step, and every so often what came late; returns how many entries."""
        if self._after is None:
            self._after = await self._resume()
        self._steps += 1
        if self._steps % LOOK_BACK_EVERY == 0:
            self._after = min(self._after, _before(min(self._after[0], now_ms())))
        return await self._go_on()

    async def sweep(self) -> int:
        """Looks at every entry there is, seals what is not; returns how many."""
        self._after = BEGIN
        return await self._go_on()

    async def _go_on(self) -> int:
        sealed, after, full = 0, self._after or BEGIN, True
        while full:
            found = await self._database.read(seal.window, after=after, limit=WINDOW)
            for first in range(0, len(found.unsealed), self._rows_max):
                sealed += await self._database.write(seal.seal, found.unsealed[first : first + self._rows_max], now=now_ms())
            self._after = after = found.next
            full = found.full
            await asyncio.sleep(PAUSE_SECONDS if full else 0)
        return sealed

    async def _resume(self) -> Cursor:
        """A little before the newest entry that is sealed, found from the newest entry downwards."""
        before: int | None = 2**62
        while before is not None:
            found, before = await self._database.read(seal.newest, before=before, limit=WINDOW)
            if found is not None:
                return _before(found)
        return BEGIN


def rows_max(database_url: str) -> int:
    return ROWS_MAX_SQLITE if database_url.startswith("sqlite") else ROWS_MAX


def _before(at: int) -> Cursor:
    return max(0, at - LOOK_BACK_MS), ""
