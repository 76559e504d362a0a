"""What leaves for the client: events as server-sent events, or one completion as JSON. Nothing is sent before there is content.

A Reply is told events, then exactly one of `finish` (after the settle) and `fail`. It writes through ASGI's `send`; how long the client
has been refusing to take a write is `writing_since`, which `watch` reads.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Protocol

import msgspec

from gateway.errors import ClientGone, Problem
from gateway.timing import Timing
from providers.provider import Event

Send = Callable[[dict[str, Any]], Awaitable[None]]

COMMENT: Final = b": TOLLWAY PROCESSING\n\n"
DONE: Final = b"data: [DONE]\n\n"

_encode: Final = msgspec.json.Encoder().encode


class Reply(Protocol):
    """The client's side of one generation; one implementation per client API and mode."""

    @property
    def written(self) -> float: ...
    @property
    def writing_since(self) -> float | None: ...

    async def events(self, events: list[Event]) -> None: ...
    async def finish(self, usage: dict[str, Any], labels: Event, trace: dict[str, Any] | None) -> None: ...
    async def fail(self, problem: Problem, labels: Event | None) -> None: ...
    def comment(self, now: float) -> None: ...
    def cut(self) -> None: ...


class Writer:
    """ASGI messages, one at a time, with the moments that `watch` needs. A client that has gone takes writes without effect.

    ClientGone from the write that finds the connection closed under us: the server reports the end of a connection only to its newest
    request, so a client that pipelines, or sends garbage behind its request, leaves in silence.
    """

    def __init__(
        self,
        send: Send,
        headers: Iterable[tuple[bytes, bytes]] = (),
        *,
        cut: Callable[[], None] = lambda: None,
        timing: Timing | None = None,
    ) -> None:
        self._send = send
        self.headers = list(headers)
        self.cut = cut
        self._timing = timing
        self._clock = asyncio.get_running_loop().time
        self._gone = False
        self.started = False
        self.written = self._clock()
        self.writing_since: float | None = None

    async def start(self, status: int, content_type: bytes, more: list[tuple[bytes, bytes]]) -> None:
        self.started = True
        headers = [(b"content-type", content_type), *self.headers, *more]
        if self._timing is not None:
            headers.append(self._timing.header())
        await self._put({"type": "http.response.start", "status": status, "headers": headers})

    async def body(self, data: bytes, *, more: bool) -> None:
        self.writing_since = self._clock()
        try:
            await self._put({"type": "http.response.body", "body": data, "more_body": more})
        finally:
            self.writing_since, self.written = None, self._clock()

    async def _put(self, message: dict[str, Any]) -> None:
        if self._gone:
            return
        try:
            await self._send(message)
        except (RuntimeError, OSError) as error:
            self._gone = True
            raise ClientGone from error

    async def json(self, status: int, value: object, headers: dict[str, str]) -> None:
        """A header of `headers` replaces the one of its name that was there before."""
        data = _encode(value)
        more = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
        if more:
            self.headers = [header for header in self.headers if header[0] not in dict(more)]
        await self.start(status, b"application/json", [(b"content-length", b"%d" % len(data)), *more])
        await self.body(data, more=False)


class ChatJson:
    """Not streamed: the one completion is kept until it has been charged, then sent with its usage."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._completion: Event | None = None

    @property
    def written(self) -> float:
        return self._writer.written

    @property
    def writing_since(self) -> float | None:
        return self._writer.writing_since

    async def events(self, events: list[Event]) -> None:
        self._completion = events[-1]

    async def finish(self, usage: dict[str, Any], labels: Event, trace: dict[str, Any] | None) -> None:
        completion = self._completion or labels
        completion["object"] = "chat.completion"
        completion["usage"] = usage
        if trace is not None:
            completion["tollway_trace"] = trace
        await self._writer.json(200, completion, {})

    async def fail(self, problem: Problem, labels: Event | None) -> None:
        await self._writer.json(problem.status, problem.body(), problem.headers)

    def comment(self, now: float) -> None:
        """JSON has no room for comments."""

    def cut(self) -> None:
        self._writer.cut()


class ChatStream:
    """Streamed: headers leave with the first content (or the first comment, after long silence); then errors travel in the stream."""

    def __init__(self, writer: Writer, *, include_usage: bool) -> None:
        self._writer = writer
        self._include_usage = include_usage
        self._comment: asyncio.Task[None] | None = None

    @property
    def written(self) -> float:
        return self._writer.written

    @property
    def writing_since(self) -> float | None:
        return self._writer.writing_since

    async def events(self, events: list[Event]) -> None:
        await self._write(b"".join([b"data: " + _encode(event) + b"\n\n" for event in events]), more=True)

    async def finish(self, usage: dict[str, Any], labels: Event, trace: dict[str, Any] | None) -> None:
        """Asked-for usage comes as OpenAI's chunk without choices, unasked usage with one empty choice, for clients that index it."""
        empty = {"index": 0, "delta": {}, "finish_reason": None, "native_finish_reason": None, "logprobs": None}
        last = {**labels, "choices": [] if self._include_usage else [empty], "usage": usage}
        if trace is not None:
            last["tollway_trace"] = trace
        await self._write(b"data: " + _encode(last) + b"\n\n" + DONE, more=False)

    async def fail(self, problem: Problem, labels: Event | None) -> None:
        """Before the headers: a true status. After them: one error chunk, and no [DONE], so that a cut never looks like an end."""
        if not self._writer.started and self._comment is None:
            await self._writer.json(problem.status, problem.body(), problem.headers)
            return
        choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error", "native_finish_reason": "error", "logprobs": None}
        chunk = {"object": "chat.completion.chunk", "choices": [choice], **(labels or {}), **problem.body()}
        await self._write(b"data: " + _encode(chunk) + b"\n\n", more=False)

    def comment(self, now: float) -> None:
        """Called by `watch` while nobody writes: keeps proxies and clients from giving up."""
        if self._comment is None:
            self._comment = asyncio.get_running_loop().create_task(self._write_comment())

    def cut(self) -> None:
        """Called by `watch` when the client takes nothing: its connection is gone at once, and a write that waits for it returns."""
        self._writer.cut()

    async def _write_comment(self) -> None:
        try:
            await self._start()
            await self._writer.body(COMMENT, more=True)
        finally:
            self._comment = None

    async def _write(self, data: bytes, *, more: bool) -> None:
        if self._comment is not None:
            await asyncio.shield(self._comment)
        await self._start()
        await self._writer.body(data, more=more)

    async def _start(self) -> None:
        if not self._writer.started:
            await self._writer.start(
                200, b"text/event-stream; charset=utf-8", [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
            )
