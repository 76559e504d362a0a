"""One HTTP/1.1 connection to a provider: an asyncio protocol around httptools, one request at a time, every buffer bounded."""

import asyncio
from collections.abc import Callable
from typing import Final, cast

import httptools

from providers.errors import ProviderError, ProviderInvalidAnswer, ProviderUnavailable

HEADER_BYTES_MAX: Final = 32 * 1024
BUFFER_BYTES_MAX: Final = 256 * 1024
"""Body bytes waiting to be read before the socket is paused: back-pressure reaches the provider through TCP."""


class Connection(asyncio.Protocol):
    """`send` a request, wait for `head`, then `read` until None. `abort` closes at once, from any state, without waiting."""

    transport: asyncio.Transport

    def __init__(self, on_idle: Callable[["Connection"], None], on_lost: Callable[["Connection"], None]) -> None:
        self._on_idle = on_idle
        self._on_lost = on_lost
        self._waiter: asyncio.Future[None] | None = None
        self.idle_since = 0.0
        self.lost = False
        self._reset()

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._header_bytes = 0
        self._unused_bytes = 0
        self._error: ProviderError | None = None
        self._busy = False
        self._lingering = False
        self._paused = False
        self._keeps_alive = False
        self._until_eof = False
        self.answered = False
        self.complete = False
        self.head_complete = False
        self.status = 0
        self.headers: dict[str, str] = {}

    # What the wire calls

    def send(self, request: bytes) -> None:
        self._reset()
        self._busy = True
        self.transport.write(request)

    async def head(self) -> None:
        """Returns when status and headers are here. ProviderError when they will never be."""
        while not self.head_complete:
            if self._error is not None:
                raise self._error
            await self._wait()

    async def read(self) -> bytes | None:
        """The body bytes that have arrived since the last read; None at the end. ProviderError if the body was cut."""
        while not self._chunks:
            if self.complete:
                return None
            if self._error is not None:
                raise self._error
            await self._wait()
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._buffered = 0
        if self._paused:
            self._paused = False
            self.transport.resume_reading()
        return data

    def finish(self, linger_seconds: float) -> None:
        """The reader has all it wants: keep the connection if its answer ends within `linger_seconds`, else close it."""
        if self.complete:
            self._end_of_use()
        elif self._error is not None or self._paused:
            self.abort()
        else:
            self._lingering = True
            asyncio.get_running_loop().call_later(linger_seconds, self._linger_over)

    def abort(self) -> None:
        self._lingering = False
        self.transport.abort()

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _linger_over(self) -> None:
        if self._lingering:
            self.abort()

    def _end_of_use(self) -> None:
        self._lingering = self._busy = False
        if self.lost or self._error is not None or not self._keeps_alive:
            self.abort()
        else:
            self._on_idle(self)

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if not self._busy or self.complete:
            self.abort()
            return
        self.answered = True
        self._unused_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserCallbackError):
            self._fail(ProviderInvalidAnswer("the provider's answer is not HTTP/1.1"))
        if self._unused_bytes > HEADER_BYTES_MAX:
            # A header, trailer or chunk extension that does not end: the parser would gather it in memory without a bound.
            self._fail(ProviderInvalidAnswer("the provider's headers are larger than 32 KiB"))
        self._wake()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        if self.head_complete and not self.complete and self._until_eof and error is None:
            self.complete = True
        if not self.complete and self._error is None:
            where = "in the middle of its answer" if self.head_complete else "before it answered"
            self._error = ProviderUnavailable(f"the provider closed the connection {where}")
        self._on_lost(self)
        self._wake()

    # What httptools calls

    def on_message_begin(self) -> None:
        if self.complete:
            self._fail(ProviderInvalidAnswer("the provider sent more than one answer"))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > HEADER_BYTES_MAX:
            self._fail(ProviderInvalidAnswer("the provider's headers are larger than 32 KiB"))
        elif not self.head_complete:
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._unused_bytes = 0
        if self._error is not None:
            return
        status = self._parser.get_status_code()
        if status < 200:
            self.headers.clear()
            return
        self.status = status
        self._keeps_alive = self._parser.should_keep_alive()
        self._until_eof = "content-length" not in self.headers and "chunked" not in self.headers.get("transfer-encoding", "")
        self.head_complete = True

    def on_body(self, body: bytes) -> None:
        self._unused_bytes = 0
        if self._error is not None:
            return
        self._chunks.append(body)
        self._buffered += len(body)
        if self._buffered > BUFFER_BYTES_MAX and not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def on_message_complete(self) -> None:
        self._unused_bytes = 0
        if not self.head_complete:
            return
        self.complete = True
        if self._lingering:
            self._end_of_use()

    def _fail(self, error: ProviderError) -> None:
        self._error = error
        self.transport.abort()
