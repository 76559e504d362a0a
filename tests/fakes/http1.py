"""HTTP/1.1 on raw asyncio: reads requests whole, and lets its user write, close or reset at any byte.

Reading goes on while an answer is written, so a client's close is seen at once (`on_leave`).
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

MAX_HEAD = 64 << 10
MAX_BODY = 128 << 20


class ClientGoneError(Exception):
    """The client closed while a request was awaited or half read."""


class BadRequestError(Exception):
    """The bytes are no request this server reads; `status` says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Request:
    """`headers` has lower-case names, repeated ones joined by a comma; `path` is unquoted."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    keep_alive: bool


class Wire(asyncio.Protocol):
    """One TCP connection; `serial` is None until its first request that is not for the control API."""

    def __init__(self, *, serve: Callable[["Wire"], Coroutine[None, None, None]], closed: Callable[["Wire"], None]) -> None:
        self.serial: int | None = None
        self.control = False
        self.gone = False
        self.poison: str | None = None
        self.on_leave: Callable[[], None] | None = None
        self._serve, self._closed = serve, closed
        self._buffer = bytearray()
        self._more, self._writable = asyncio.Event(), asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._task = asyncio.get_running_loop().create_task(self._serve(self))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._more.set()
        if len(self._buffer) > MAX_BODY + MAX_HEAD:
            self.reset()

    def eof_received(self) -> bool:
        self._leave()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        self._closed(self)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    async def send(self, data: bytes) -> None:
        """Writes, and returns when the client keeps up; other connections get their turn in between."""
        self.write(data)
        await asyncio.sleep(0)
        await self._writable.wait()

    def close(self) -> None:
        """FIN, after what has been written."""
        self._transport.close()

    def reset(self) -> None:
        """RST; what the kernel has not sent yet is lost."""
        sock = self._transport.get_extra_info("socket")
        if sock is not None and not self._transport.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    async def line(self, *, limit: int = MAX_HEAD, end: bytes = b"\r\n") -> bytes:
        while (at := self._buffer.find(end)) < 0:
            if len(self._buffer) > limit:
                raise BadRequestError(431, "The request's head is too large.")
            await self._wait()
        return self.take(at + len(end))[:at]

    async def exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            await self._wait()
        return self.take(size)

    def take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    async def _wait(self) -> None:
        if self.gone:
            raise ClientGoneError
        self._more.clear()
        await self._more.wait()

    def _leave(self) -> None:
        self.gone = True
        self._more.set()
        self._writable.set()
        if self.on_leave:
            self.on_leave()
            self._task.cancel()


async def read_request(wire: Wire) -> Request:
    """The next request of a connection, its body whole; raises ClientGoneError or BadRequestError."""
    head = await wire.line(end=b"\r\n\r\n")
    start, *lines = head.decode("latin-1").lstrip("\r\n").split("\r\n")
    method, target, version = _start_line(start)
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise BadRequestError(400, "A header line has no name.")
        name = name.strip().lower()
        headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
    if headers.get("expect", "").lower() == "100-continue":
        wire.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    url = urlsplit(target)
    keep_alive = version == "HTTP/1.1" and "close" not in headers.get("connection", "").lower()
    body = await _body(wire, headers)
    return Request(method, unquote(url.path), parse_qs(url.query), headers, body, keep_alive)


def _start_line(line: str) -> tuple[str, str, str]:
    parts = line.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1.") or not parts[1].startswith("/") or parts[1].startswith("//"):
        raise BadRequestError(400, "The request line is not HTTP/1.1.")
    return parts[0], parts[1], parts[2]


async def _body(wire: Wire, headers: dict[str, str]) -> bytes:
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return await _chunks(wire)
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()) or len(length) > 18:
        raise BadRequestError(400, "Content-Length is not a number.")
    if int(length) > MAX_BODY:
        raise BadRequestError(413, "The body is too large.")
    return await wire.exactly(int(length))


async def _chunks(wire: Wire) -> bytes:
    body = bytearray()
    while True:
        size = _chunk_size(await wire.line(limit=1024))
        if len(body) + size > MAX_BODY:
            raise BadRequestError(413, "The body is too large.")
        if size == 0:
            break
        body += await wire.exactly(size)
        if await wire.exactly(2) != b"\r\n":
            raise BadRequestError(400, "A chunk does not end where it says.")
    while await wire.line():
        pass
    return bytes(body)


def _chunk_size(line: bytes) -> int:
    digits = line.split(b";")[0].strip()
    try:
        size = int(digits, 16)
    except ValueError:
        size = -1
    if size < 0:
        raise BadRequestError(400, "A chunk's size is not a number.")
    return size
