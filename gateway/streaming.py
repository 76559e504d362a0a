"""What leaves for the client: server-sent events, or one JSON document. Nothing is sent before there is content.

A Reply is told events, then exactly one of `finish` (after the settle) and `fail`. It writes through ASGI's `send`; how long the client
has been refusing to take a write is `writing_since`, which `watch` reads. `Whole` and `Streamed` are what the replies of all client
APIs share; each API says in `api/` how its answers look.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Protocol

import msgspec

from gateway.errors import ClientGone, Problem
from gateway.timing import Timing
from policy.tapes import Tape
from providers.provider import Event

Send = Callable[[dict[str, Any]], Awaitable[None]]

COMMENT: Final = b": TOLLWAY PROCESSING\n\n"

encode: Final = msgspec.json.Encoder().encode


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

    Read when the answer starts: `adjusted`, the parameters that were dropped or changed on the way, and `notices`, headers that belong to
    the endpoint that answers.

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
        adjusted: Iterable[str] = (),
        tape: Tape | None = None,
        request_id: str | None = None,
    ) -> None:
        self._send = send
        self.headers = list(headers)
        self.cut = cut
        self._timing = timing
        self._adjusted = adjusted
        self.notices: list[tuple[bytes, bytes]] = []
        self.tape = tape
        self.request_id = request_id
        self._clock = asyncio.get_running_loop().time
        self.gone = False
        self.started = False
        self.written = self._clock()
        self.writing_since: float | None = None

    async def start(self, status: int, content_type: bytes, more: list[tuple[bytes, bytes]]) -> None:
        self.started = True
        headers = [(b"content-type", content_type), *self.headers, *self.notices, *more]
        if self._timing is not None:
            headers.append(self._timing.header())
        if names := ", ".join(sorted(set(self._adjusted))):
            headers.append((b"x-tollway-adjusted", names.encode()))
        await self._put({"type": "http.response.start", "status": status, "headers": headers})

    async def body(self, data: bytes, *, more: bool) -> None:
        if self.tape is not None:
            self.tape.add(data, last=not more)
        self.writing_since = self._clock()
        try:
            await self._put({"type": "http.response.body", "body": data, "more_body": more})
        finally:
            self.writing_since, self.written = None, self._clock()

    async def _put(self, message: dict[str, Any]) -> None:
        if self.gone:
            return
        try:
            await self._send(message)
        except (RuntimeError, OSError) as error:
            self.gone = True
            if not self.detach():
                raise ClientGone from error

    def detach(self) -> bool:
        """The client has gone. True if its answer is taped, so that it goes on without it: from now on only the tape is written."""
        if self.tape is None or self.tape.lost:
            return False
        self.gone = True
        return True

    async def json(self, status: int, value: object, headers: dict[str, str]) -> None:
        """A header of `headers` replaces the one of its name that was there before. JSON is never taped."""
        if self.tape is not None:
            self.tape.drop()
            self.tape = None
        data = encode(value)
        more = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
        if more:
            self.headers = [header for header in self.headers if header[0] not in dict(more)]
        await self.start(status, b"application/json", [(b"content-length", b"%d" % len(data)), *more])
        await self.body(data, more=False)


class Whole:
    """Not streamed: the one completion is kept until it has been charged."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.completion: Event | None = None

    @property
    def written(self) -> float:
        return self._writer.written

    @property
    def writing_since(self) -> float | None:
        return self._writer.writing_since

    async def events(self, events: list[Event]) -> None:
        self.completion = events[-1]

    async def send(self, status: int, value: object, headers: dict[str, str]) -> None:
        await self._writer.json(status, value, headers)

    def comment(self, now: float) -> None:
        """JSON has no room for comments."""

    def cut(self) -> None:
        self._writer.cut()


class Streamed:
    """Streamed: headers leave with the first content (or the first comment, after long silence); then errors travel in the stream."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._comment: asyncio.Task[None] | None = None

    @property
    def written(self) -> float:
        return self._writer.written

    @property
    def writing_since(self) -> float | None:
        return self._writer.writing_since

    @property
    def started(self) -> bool:
        """Whether the status has left, or is leaving: from then on an error can only travel in the stream."""
        return self._writer.started or self._comment is not None

    async def write(self, data: bytes, *, more: bool) -> None:
        if self._comment is not None:
            await asyncio.shield(self._comment)
        await self._start()
        await self._writer.body(data, more=more)

    async def refuse(self, status: int, value: object, headers: dict[str, str]) -> None:
        """Only while not `started`: a true status and JSON instead of a stream."""
        await self._writer.json(status, value, headers)

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

    async def _start(self) -> None:
        if not self._writer.started:
            await self._writer.start(
                200, b"text/event-stream; charset=utf-8", [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
            )
