"""What the wire allows a provider: bytes, memory, headers, connections; and how it holds a fast one back."""

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable

import pytest

from providers.errors import ConnectFailed, ProviderError, ProviderInvalidAnswer
from providers.wire import Bounds, Wire
from tests.raw_server import Server, serving, until, writes

MIB = 2**20
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    opened = Wire(Bounds())
    yield opened
    await opened.aclose()
    await until(lambda: opened.connections == 0)


async def ask(wire: Wire, server: Server, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    with await wire.post(server.url, headers=headers or {}, body=b"{}") as response:
        return response.status, await response.body()


async def test_a_slow_reader_holds_the_provider_back(wire: Wire) -> None:
    total, piece = 50 * MIB, b"x" * 65536

    async def answer(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total)
        while server.sent < total:
            writer.write(piece)
            await writer.drain()
            server.sent += len(piece)

    async with serving(answer) as server:
        with await wire.post(server.url, headers={}, body=b"") as response:
            read = len(await response.read() or b"")
            await asyncio.sleep(0.3)
            assert server.sent < 20 * MIB  # what the kernel's buffers take, and no more
            largest = 0
            while (data := await response.read()) is not None:
                read += len(data)
                largest = max(largest, len(data))
        assert read == total
        assert largest < MIB
        await wire.aclose()


@pytest.mark.parametrize("size", [999, 1000, 1001])
@pytest.mark.parametrize("packed", [False, True])
async def test_an_answer_may_have_as_many_bytes_as_the_bound_and_not_one_more(size: int, packed: bool) -> None:
    wire = Wire(Bounds(response_bytes_max=1000))
    body = gzip.compress(b"a" * size) if packed else b"a" * size
    coding = b"content-encoding: gzip\r\n" if packed else b""
    async with serving(writes(b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n%b" % (coding, len(body), body))) as server:
        if size > 1000:
            with pytest.raises(ProviderInvalidAnswer):
                await ask(wire, server)
        else:
            assert await ask(wire, server) == (200, b"a" * size)
        await wire.aclose()


@pytest.mark.parametrize(
    ("coding", "pack"), [("gzip", gzip.compress), ("GZIP", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)]
)
async def test_packed_answers_are_unpacked(wire: Wire, coding: str, pack: Callable[[bytes], bytes]) -> None:
    body = pack(b"hello " * 1000)
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: %b\r\ncontent-length: %d\r\n\r\n" % (coding.encode(), len(body))
    async with serving(writes(head + body[:5], body[5:])) as server:
        assert await ask(wire, server) == (200, b"hello " * 1000)
        await wire.aclose()


async def test_a_gzip_bomb_takes_no_more_memory_than_the_bound() -> None:
    wire = Wire(Bounds(response_bytes_max=4 * MIB))
    packer = zlib.compressobj(wbits=31)
    bomb = b"".join([*(packer.compress(bytes(MIB)) for _ in range(128)), packer.flush()])
    async with serving(writes(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n%b" % (len(bomb), bomb))) as server:
        tracemalloc.start()
        with pytest.raises(ProviderInvalidAnswer):
            await ask(wire, server)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 16 * MIB
        await wire.aclose()


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\nx: ", b"HTTP/1.1 200 ", CHUNKED + b"0\r\nx: ", CHUNKED + b"1;x="])
async def test_a_head_that_never_ends_takes_no_memory(wire: Wire, start: bytes) -> None:
    async with serving(writes(start, *[b"a" * MIB] * 50, pause=0)) as server:
        tracemalloc.start()
        with pytest.raises(ProviderError):
            await ask(wire, server)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 8 * MIB
        await until(lambda: wire.connections == 0, 0.5)


async def test_connections_are_counted_while_they_are_being_made() -> None:
    wire = Wire(Bounds(connections_max=3))
    async with serving(writes(OK, pause=0)) as server:
        results = await asyncio.gather(*(ask(wire, server) for _ in range(20)), return_exceptions=True)
        assert server.accepted <= 3
        assert sum(isinstance(result, ConnectFailed) for result in results) == 17
        assert await ask(wire, server) == (200, b"hi")
        await wire.aclose()
