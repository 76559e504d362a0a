"""A reply that stands before another one and passes everything on: what listens to an answer, or changes it, begins with it."""

from typing import Any

from gateway.errors import Problem
from gateway.streaming import Reply
from providers.provider import Event


class Passing:
    """A Reply."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    @property
    def written(self) -> float:
        return self._reply.written

    @property
    def writing_since(self) -> float | None:
        return self._reply.writing_since

    async def events(self, events: list[Event]) -> None:
        await self._reply.events(events)

    async def finish(self, usage: dict[str, Any], labels: Event, trace: dict[str, Any] | None) -> None:
        await self._reply.finish(usage, labels, trace)

    async def fail(self, problem: Problem, labels: Event | None) -> None:
        await self._reply.fail(problem, labels)

    def comment(self, now: float) -> None:
        self._reply.comment(now)

    def cut(self) -> None:
        self._reply.cut()
