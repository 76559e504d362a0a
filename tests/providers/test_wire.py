"""The wire against servers that misbehave byte by byte: connections are reused, bounded, and never left behind."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Coroutine, Generator
from typing import Any

import pytest

from providers.errors import ConnectFailed, ProviderError, ProviderInvalidAnswer, ProviderUnavailable
from providers.wire import LINGER_SECONDS, Bounds, Wire
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


# Keeping connections


async def test_a_connection_is_reused(wire: Wire) -> None:
    async with serving(writes(OK)) as server:
        assert [await ask(wire, server) for _ in range(5)] == [(200, b"hi")] * 5
        assert (server.accepted, server.requests, wire.connections) == (1, 5, 1)
        await wire.aclose()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhi",
        b"HTTP/1.0 200 OK\r\n\r\nhi",
    ],
)
async def test_a_connection_that_will_be_closed_is_not_kept(wire: Wire, answer: bytes) -> None:
    async with serving(writes(answer, close=True)) as server:
        assert await ask(wire, server) == (200, b"hi")
        await until(lambda: wire.connections == 0)


@pytest.mark.parametrize("reset", [False, True])
async def test_a_kept_connection_that_was_closed_meanwhile_is_replaced_once(wire: Wire, reset: bool) -> None:
    async def answer(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if server.requests == 2:
            if reset:
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            writer.close()
            return
        writer.write(OK)

    async with serving(answer) as server:
        assert [await ask(wire, server) for _ in range(2)] == [(200, b"hi")] * 2
        assert (server.accepted, server.requests) == (2, 3)
        await wire.aclose()


async def test_a_request_is_not_repeated_once_a_byte_of_its_answer_has_come(wire: Wire) -> None:
    async def answer(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK if server.requests == 1 else b"HTTP/1.1 2")
        if server.requests == 2:
            writer.close()

    async with serving(answer) as server:
        await ask(wire, server)
        with pytest.raises(ProviderUnavailable):
            await ask(wire, server)
        assert server.requests == 2


async def test_a_request_on_a_new_connection_is_not_repeated(wire: Wire) -> None:
    async with serving(writes(b"", close=True)) as server:
        with pytest.raises(ProviderUnavailable):
            await ask(wire, server)
        assert server.requests == 1
        await until(lambda: wire.connections == 0)


async def test_a_connection_that_was_idle_for_too_long_is_not_used(wire: Wire) -> None:
    patient = Wire(Bounds(idle_connection_seconds=0.05))
    async with serving(writes(OK)) as server:
        await ask(patient, server)
        await asyncio.sleep(0.1)
        await ask(patient, server)
        assert server.accepted == 2
        await until(lambda: patient.connections == 1)
        await patient.aclose()


@pytest.mark.parametrize("pause", [0, 0.02])
async def test_a_second_answer_that_nobody_asked_for_never_reaches_the_next_request(wire: Wire, pause: float) -> None:
    surplus = b"HTTP/1.1 500 Poison\r\ncontent-length: 6\r\n\r\npoison"
    async with serving(writes(OK + surplus) if not pause else writes(OK, surplus)) as server:
        for _ in range(3):
            assert await ask(wire, server) == (200, b"hi")
            await asyncio.sleep(2 * pause)
        assert server.accepted == 3


# Ending


@pytest.mark.parametrize("late", [True, False])
async def test_a_reader_that_has_enough_keeps_the_connection_if_the_answer_ends_soon(wire: Wire, late: bool) -> None:
    """As after [DONE]: the last framing bytes may come in a packet of their own."""
    parts = (CHUNKED + b"2\r\nhi\r\n", b"0\r\n\r\n") if late else (CHUNKED + b"2\r\nhi\r\n0\r\n\r\n",)
    async with serving(writes(*parts)) as server:
        for _ in range(2):
            with await wire.post(server.url, headers={}, body=b"") as response:
                assert await response.read() == b"hi"
            await asyncio.sleep(0.1)
        assert server.accepted == 1
        await wire.aclose()


async def test_an_answer_that_does_not_end_after_its_reader_has_enough_is_closed(wire: Wire) -> None:
    async with serving(writes(CHUNKED + b"2\r\nhi\r\n")) as server:
        with await wire.post(server.url, headers={}, body=b"") as response:
            assert await response.read() == b"hi"
        await until(lambda: wire.connections == 0 and server.open == 0, LINGER_SECONDS + 1)


async def test_a_reader_that_stops_by_an_error_closes_at_once(wire: Wire) -> None:
    async with serving(writes(CHUNKED + b"2\r\nhi\r\n")) as server:
        with contextlib.suppress(KeyError), await wire.post(server.url, headers={}, body=b"") as response:
            await response.read()
            raise KeyError
        await until(lambda: wire.connections == 0 and server.open == 0, 0.3)


BROKEN = {
    "nothing": b"",
    "garbage": b"hello\r\n\r\n",
    "half a status": b"HTTP/1.1 20",
    "no end of the head": b"HTTP/1.1 200 OK\r\nx: y\r\n",
    "a short body": b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhi",
    "an unfinished chunk": CHUNKED + b"5\r\nhi",
    "no last chunk": CHUNKED + b"2\r\nhi\r\n",
    "a bad chunk size": CHUNKED + b"zz\r\nhi\r\n",
    "a negative length": b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nhi",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nhi",
    "length and chunks": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n\x81\x05Hello",
    "HTTP/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    "only 100": b"HTTP/1.1 100 Continue\r\n\r\n",
    "bad gzip": b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nhi",
    "an unknown coding": b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 2\r\n\r\nhi",
    "headers too large": b"HTTP/1.1 200 OK\r\n"
    + b"".join(b"x-%d: %b\r\n" % (i, b"a" * 1000) for i in range(40))
    + b"content-length: 2\r\n\r\nhi",
    "a header too large": b"HTTP/1.1 200 OK\r\nx: " + b"a" * 40_000 + b"\r\ncontent-length: 2\r\n\r\nhi",
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_answer_is_a_provider_error_and_leaves_no_connection(wire: Wire, name: str) -> None:
    async with serving(writes(BROKEN[name], close=True)) as server:
        with pytest.raises(ProviderError):
            await ask(wire, server)
        await until(lambda: wire.connections == 0 and server.open == 0, 0.5)


@pytest.mark.parametrize("name", ["an unknown coding", "bad gzip", "headers too large", "a header too large", "garbage"])
async def test_a_refused_answer_closes_its_connection_although_the_provider_would_keep_it(wire: Wire, name: str) -> None:
    async with serving(writes(BROKEN[name])) as server:
        with pytest.raises(ProviderInvalidAnswer):
            await ask(wire, server)
        await until(lambda: wire.connections == 0 and server.open == 0, 0.5)


@pytest.mark.parametrize("early", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" * 3])
async def test_interim_answers_are_passed_over(wire: Wire, early: bytes) -> None:
    async with serving(writes(early + OK)) as server:
        assert await ask(wire, server) == (200, b"hi")
        await wire.aclose()


# Connecting


async def test_a_refused_connection_is_connect_failed(wire: Wire) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectFailed):
            await wire.post(f"http://127.0.0.1:{closed.getsockname()[1]}/", headers={}, body=b"")


async def test_a_connection_that_takes_too_long_is_connect_failed() -> None:
    wire = Wire(Bounds(connect_seconds=0.2))
    with socket.socket() as deaf, contextlib.ExitStack() as waiting:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(4):  # a full queue: the kernel answers no more
            filler = waiting.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        began = time.monotonic()
        with pytest.raises(ConnectFailed, match=r"0\.2 s"):
            await wire.post(f"http://127.0.0.1:{deaf.getsockname()[1]}/", headers={}, body=b"")
        assert time.monotonic() - began < 1
        assert wire.connections == 0


@pytest.mark.parametrize("key", ["a\r\nx: y", "a\nx: y", "a\rx: y", "a\r\n\r\nGET / HTTP/1.1", "a\0"])
async def test_a_line_break_in_a_key_is_refused_before_anything_is_sent(wire: Wire, key: str) -> None:
    async with serving(writes(OK)) as server:
        with pytest.raises(ValueError, match="line break"):
            await ask(wire, server, {"authorization": f"Bearer {key}"})
        assert server.accepted == 0


# Cancellation


class _Stepped:
    """Awaits a coroutine and cancels the task at its `step`-th await; `late` cancels when what it waited for is already there."""

    def __init__(self, work: Coroutine[Any, Any, Any], step: int, *, late: bool) -> None:
        self._work, self._step, self._late = work, step, late

    def __await__(self) -> Generator[Any, Any, Any]:
        task = asyncio.current_task()
        assert task is not None
        error: BaseException | None = None
        for step in range(10_000):
            try:
                future = self._work.throw(error) if error else self._work.send(None)
            except StopIteration as done:
                return done.value
            if step == self._step:
                if self._late and future is not None:
                    future.add_done_callback(lambda _: task.cancel())
                else:
                    asyncio.get_running_loop().call_soon(task.cancel)
            try:
                error = None
                yield future
            except BaseException as thrown:  # noqa: BLE001 - passed on to the coroutine
                error = thrown
        raise AssertionError("endless")


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("kept", [False, True])
async def test_a_cancellation_at_any_await_leaves_no_connection_behind(late: bool, kept: bool) -> None:
    parts = (b"HTTP/1.1 200 OK\r\ntransfer-", b"encoding: chunked\r\n\r\n2\r\nhi\r\n", b"2\r\nho\r\n", b"0\r\n\r\n")
    cancelled = 0
    async with serving(writes(*parts, pause=0.005)) as server:
        for step in range(50):
            wire = Wire(Bounds())
            if kept:
                await ask(wire, server)

            async def work(wire: Wire = wire, step: int = step) -> object:
                return await _Stepped(ask(wire, server), step, late=late)

            try:
                assert await asyncio.create_task(work()) == (200, b"hiho")
                break
            except asyncio.CancelledError:
                cancelled += 1
            await until(lambda wire=wire: wire.connections == 0)  # type: ignore[misc]
        else:
            raise AssertionError("never came to its end")
        await until(lambda: wire.connections == 1)
        await wire.aclose()
    assert cancelled >= 4
