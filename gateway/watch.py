"""One ticker for all live generations: first byte, idle and total time, stalled clients, keep-alive comments.

A clock per generation would cost a timer per event; one pass over a thousand generations four times a second costs nothing.
"""

import asyncio
from collections import deque
from typing import Final

from gateway.generation import RELAYING, Generation, Interrupt, State
from gateway.settings import Settings

TICK_SECONDS: Final = 0.25
LAGS: Final = 4


class Watch:
    """Holds the running generations."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.live: set[Generation] = set()
        self._ticker: asyncio.Task[None] | None = None
        self._lags = deque([0.0], maxlen=LAGS)

    @property
    def lag_seconds(self) -> float:
        """By how much the event loop has been late for a second at least: one long step says nothing about the next request."""
        return min(self._lags)

    def start(self) -> None:
        self._ticker = asyncio.get_running_loop().create_task(self._tick())

    def add(self, generation: Generation) -> None:
        self.live.add(generation)

    def remove(self, generation: Generation) -> None:
        self.live.discard(generation)

    async def drain(self) -> None:
        """Interrupts what still runs (the server has given it `drain_seconds` by then); returns when all have settled."""
        while self.live:
            for generation in list(self.live):
                generation.interrupt(Interrupt.SHUTDOWN)
            await asyncio.sleep(TICK_SECONDS)
        if self._ticker is not None:
            self._ticker.cancel()

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            asleep = loop.time()
            await asyncio.sleep(TICK_SECONDS)
            now = loop.time()
            self._lags.append(now - asleep - TICK_SECONDS)
            for generation in list(self.live):
                due = self._due(generation, now)
                if due is Interrupt.CLIENT_STALLED and generation.detach():
                    generation.reply.cut()
                elif due is not None:
                    generation.interrupt(due)
                    if due is Interrupt.CLIENT_STALLED:
                        generation.reply.cut()
                elif generation.state in RELAYING and self._silent(generation, now):
                    generation.reply.comment(now)

    def _silent(self, generation: Generation, now: float) -> bool:
        reply = generation.reply
        return reply.writing_since is None and now - max(generation.heard, reply.written) >= self._settings.comment_seconds

    def _due(self, generation: Generation, now: float) -> Interrupt | None:
        settings, reply = self._settings, generation.reply
        if reply.writing_since is not None and now - reply.writing_since > settings.idle_seconds:
            return Interrupt.CLIENT_STALLED
        if now - generation.started > settings.total_seconds:
            return Interrupt.TOTAL
        if reply.writing_since is not None:
            return None
        patience = settings.first_byte_seconds if generation.request.stream else settings.answer_seconds
        if generation.state is State.DISPATCHED and now - generation.heard > patience:
            return Interrupt.FIRST_BYTE
        if generation.state is State.ANSWERING and now - generation.heard > settings.idle_seconds:
            return Interrupt.IDLE
        return None
