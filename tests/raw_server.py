"""A raw TCP server for tests of the client side: it reads requests properly and writes back whatever bytes a test wants."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

Answer = Callable[["Server", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """A raw TCP server: `answer` writes what it likes for each request. Counts connections and requests, and notes when one closed."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.accepted = self.requests = self.open = self.sent = 0
        self.url = ""
        self.heads: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self.open += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.heads.append(head)
                length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length"))
                await reader.readexactly(length)
                self.requests += 1
                await self.answer(self, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()


def writes(*parts: bytes, pause: float = 0.02, close: bool = False) -> Answer:
    """Answers every request with these writes, some time apart."""

    async def answer(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for index, part in enumerate(parts):
            if index:
                await asyncio.sleep(pause)
            writer.write(part)
            await writer.drain()
        if close:
            writer.close()

    return answer


@contextlib.asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[Server]:
    server = Server(answer)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1/chat/completions"
    try:
        yield server
    finally:
        listening.close()
        await until(lambda: server.open == 0)


async def until(condition: Callable[[], bool], seconds: float = 3) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
