"""The one seam to providers: a pooled HTTP/1.1 client for the relay.

Our own, on uvloop and httptools (the C parser that also serves our clients), because the relay is what the product is. Measured in
one run with one worker under uvicorn, 1 KB prompts, 32 connections, CPU of the whole proxied request: aiohttp 0.227 ms, pyreqwest
(Rust) 0.226 ms, this client 0.055 ms, of which 0.038 ms are the server's. Closing is synchronous (`abort`), so no cancellation can
lose a connection, and it is known whether a byte of an answer had arrived when a connection broke.

The connect time-out is kept here; first byte, idle and total time are kept by `gateway/watch.py`, which interrupts the reader.
"""

import asyncio
import functools
import ssl
import zlib
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote, urlsplit

import msgspec

from providers.connection import Connection
from providers.errors import ConnectFailed, ProviderError, ProviderInvalidAnswer

STALE_SECONDS: Final = 0.5
"""A connection that the provider had closed while it was idle says so within a round trip."""
LINGER_SECONDS: Final = 0.5
"""How long a finished stream may take to send its last framing bytes before its connection is given up."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What the wire allows. Bytes are counted after decompression."""

    connect_seconds: float = 5.0
    idle_connection_seconds: float = 30.0
    connections_max: int = 10_000
    idle_connections_max: int = 256
    response_bytes_max: int = 64 * 2**20
    event_bytes_max: int = 2**20


class Origin(msgspec.Struct, frozen=True):
    """Where a request goes: the connection's key, and the request target on it."""

    host: str
    port: int
    tls: bool
    path: str
    authority: str


class Wire:
    """A connection pool per origin. `post` returns a Response that must be closed (`with`)."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._idle: dict[tuple[str, int, bool], list[Connection]] = {}
        self._live: set[Connection] = set()
        self._connecting = 0

    @property
    def connections(self) -> int:
        """Open connections, idle ones included."""
        return len(self._live)

    async def post(self, url: str, *, headers: dict[str, str], body: bytes, on_connect: Callable[[], None] = lambda: None) -> "Response":
        """Sends a POST and waits for the status and headers of its answer. Raises ProviderError."""
        origin = origin_of(url)
        request = _encode(origin, headers, body)
        connection = self._reuse(origin)
        if connection is not None:
            on_connect()
            response = await self._try_reused(connection, request)
            if response is not None:
                return response
        connection = await self._connect(origin)
        on_connect()
        return await self._exchange(connection, request)

    async def _try_reused(self, connection: Connection, request: bytes) -> "Response | None":
        """None when a kept connection turns out to have been closed while it was idle: then it is safe to send again, once.

        It breaks at once, before a byte of an answer; one that breaks later has been at work.
        """
        clock = asyncio.get_running_loop().time
        sent = clock()
        try:
            return await self._exchange(connection, request)
        except ProviderError:
            if connection.answered or clock() - sent > STALE_SECONDS:
                raise
            return None

    async def _exchange(self, connection: Connection, request: bytes) -> "Response":
        try:
            connection.send(request)
            await connection.head()
            return Response(connection, self.bounds)
        except BaseException:
            connection.abort()
            raise

    async def _connect(self, origin: Origin) -> Connection:
        if len(self._live) + self._connecting >= self.bounds.connections_max:
            raise ConnectFailed(f"all {self.bounds.connections_max} connections to providers are in use")
        key = (origin.host, origin.port, origin.tls)
        idle = self._idle.setdefault(key, [])
        context = _tls() if origin.tls else None
        self._connecting += 1
        try:
            async with asyncio.timeout(self.bounds.connect_seconds):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: Connection(functools.partial(self._keep, idle), functools.partial(self._forget, idle)),
                    origin.host,
                    origin.port,
                    ssl=context,
                    server_hostname=origin.host if context else None,
                )
        except TimeoutError:
            raise ConnectFailed(f"no connection to the provider within {self.bounds.connect_seconds:g} s") from None
        except OSError as error:
            raise ConnectFailed(f"no connection to the provider: {type(error).__name__}") from error
        finally:
            self._connecting -= 1
        self._live.add(connection)
        return connection

    def _reuse(self, origin: Origin) -> Connection | None:
        idle = self._idle.get((origin.host, origin.port, origin.tls), [])
        oldest = asyncio.get_running_loop().time() - self.bounds.idle_connection_seconds
        while idle:
            connection = idle.pop()
            if not connection.lost and connection.idle_since > oldest:
                return connection
            connection.abort()
        return None

    def _keep(self, idle: list[Connection], connection: Connection) -> None:
        if len(idle) >= self.bounds.idle_connections_max:
            connection.abort()
            return
        connection.idle_since = asyncio.get_running_loop().time()
        idle.append(connection)

    def _forget(self, idle: list[Connection], connection: Connection) -> None:
        self._live.discard(connection)
        if connection in idle:
            idle.remove(connection)

    async def aclose(self) -> None:
        for connection in list(self._live):
            connection.abort()
        self._idle.clear()


class Response:
    """An answer whose headers are here. Closing keeps the connection for reuse only if the answer ended properly."""

    def __init__(self, connection: Connection, bounds: Bounds) -> None:
        self._connection = connection
        self._bounds = bounds
        self._bytes = 0
        self._inflate = _decompressor(connection.headers.get("content-encoding", "identity").lower())
        self.status = connection.status
        self.headers = connection.headers

    async def read(self) -> bytes | None:
        """The next decoded bytes, None at the end. ProviderInvalidAnswer beyond `response_bytes_max`."""
        data = await self._connection.read()
        if data is None:
            return None
        if self._inflate is not None:
            data = self._decompress(data)
        self._bytes += len(data)
        if self._bytes > self._bounds.response_bytes_max:
            raise ProviderInvalidAnswer(f"the provider's answer is larger than {self._bounds.response_bytes_max} bytes")
        return data

    async def body(self, bytes_max: int | None = None) -> bytes:
        """All of it, or what has come when there are more than `bytes_max`."""
        parts: list[bytes] = []
        while (bytes_max is None or self._bytes <= bytes_max) and (data := await self.read()) is not None:
            parts.append(data)
        return b"".join(parts)

    def _decompress(self, data: bytes) -> bytes:
        assert self._inflate is not None
        room = self._bounds.response_bytes_max - self._bytes + 1
        try:
            return self._inflate.decompress(data, room)
        except zlib.error:
            raise ProviderInvalidAnswer("the provider's answer is not valid gzip") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """A reader that stopped early by itself (GeneratorExit, an error, a cancellation) takes the connection down with it."""
        if kind is None:
            self._connection.finish(LINGER_SECONDS)
        else:
            self._connection.abort()


@functools.lru_cache(maxsize=4096)
def origin_of(url: str) -> Origin:
    """Splits an operator-written http(s) URL. ValueError if it is anything else."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is not an http or https URL")
    tls = parts.scheme == "https"
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    return Origin(parts.hostname, parts.port or (443 if tls else 80), tls, path or "/", parts.netloc.rpartition("@")[2])


@functools.lru_cache(maxsize=4096)
def segment(name: str) -> str:
    """A model's name as one segment of a URL's path."""
    return quote(name, safe="")


def _encode(origin: Origin, headers: dict[str, str], body: bytes) -> bytes:
    lines = [f"POST {origin.path} HTTP/1.1", f"host: {origin.authority}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join(lines)
    if {head.count("\n"), head.count("\r")} != {len(lines) - 1} or "\0" in head:
        raise ValueError("a header for a provider holds a line break or NUL; check its API key and base_url")
    return head.encode("latin-1", "replace") + b"\r\n\r\n" + body


def _decompressor(encoding: str) -> "zlib._Decompress | None":
    if encoding in ("identity", ""):
        return None
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise ProviderInvalidAnswer("the provider answered with a content encoding that was not asked for")
    return zlib.decompressobj(wbits=47)


@functools.cache
def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
