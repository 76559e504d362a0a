"""Small tasks that a serving process repeats for as long as it runs."""

import asyncio
from collections.abc import Awaitable, Callable


class Background:
    """`start` as many as needed; what they do must not raise. `stop` ends them all."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, every_seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        async def forever() -> None:
            while True:
                await asyncio.sleep(every_seconds)
                await work()

        self._tasks.append(asyncio.get_running_loop().create_task(forever()))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
