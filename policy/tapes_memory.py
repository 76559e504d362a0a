"""Tapes of this process alone."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from policy.tapes import LIFETIME_SECONDS

TOTAL_BYTES_MAX: Final = 256 * 2**20


class _Kept:
    def __init__(self, until: float) -> None:
        self.until = until
        self.frames: list[bytes] = []
        self.bytes = 0
        self.ended = False
        self.grown = asyncio.Event()
        self.on_lost: Callable[[], None] = lambda: None


class MemoryTapes:
    """In the order of their beginning, so the front is what expires first and, beyond `bytes_max` in all, what is lost first."""

    def __init__(self, clock: Callable[[], float], bytes_max: int = TOTAL_BYTES_MAX) -> None:
        self._clock = clock
        self._bytes_max = bytes_max
        self._bytes = 0
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, name: str, frame: bytes, *, last: bool, on_lost: Callable[[], None]) -> None:
        now = self._clock()
        kept = self._kept.get(name)
        if kept is None:
            kept = self._kept[name] = _Kept(now + LIFETIME_SECONDS)
            kept.on_lost = on_lost
            asyncio.get_running_loop().call_later(LIFETIME_SECONDS, self._expire, name, kept)
        kept.frames.append(frame)
        kept.bytes += len(frame)
        kept.ended = last
        kept.grown.set()
        self._bytes += len(frame)
        while self._kept and self._bytes > self._bytes_max:
            self.drop(next(iter(self._kept)))

    async def after(self, name: str, count: int, wait_seconds: float) -> tuple[list[bytes], bool] | None:
        kept = self._kept.get(name)
        if kept is not None and len(kept.frames) <= count and not kept.ended and wait_seconds:
            kept.grown.clear()
            try:
                async with asyncio.timeout(wait_seconds):
                    await kept.grown.wait()
            except TimeoutError:
                pass
            kept = self._kept.get(name)
        return None if kept is None else (kept.frames[count:], kept.ended)

    def drop(self, name: str) -> None:
        kept = self._kept.pop(name, None)
        if kept is not None:
            self._bytes -= kept.bytes
            kept.frames.clear()
            kept.grown.set()
            kept.on_lost()

    def _expire(self, name: str, kept: _Kept) -> None:
        if self._kept.get(name) is kept:
            self.drop(name)

    async def aclose(self) -> None:
        for name in list(self._kept):
            self.drop(name)
