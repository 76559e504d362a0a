"""A download seen from the server: it asks for no chunk that nobody takes, and never looks whole when it is not."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from gateway.download import DOWNLOADS_MAX, Download
from gateway.errors import Busy


class Client:
    """The other end of one ASGI request: leaves after `leaves_after` chunks, or takes nothing after `stalls_after`."""

    def __init__(self, *, leaves_after: int = 10**9, stalls_after: int = 10**9) -> None:
        self.messages: list[dict[str, Any]] = []
        self.cut = False
        self._leaves_after, self._stalls_after = leaves_after, stalls_after
        self._left = asyncio.Event()

    @property
    def scope(self) -> Any:
        return {"type": "http", "extensions": {"tollway.cut": {"cut": self._cut}}}

    @property
    def chunks(self) -> int:
        return sum(1 for message in self.messages if message["type"] == "http.response.body" and message["body"])

    @property
    def ended(self) -> bool:
        return any(message.get("more_body") is False for message in self.messages)

    async def receive(self) -> Any:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.messages.append(message)
        if self.chunks >= self._leaves_after:
            self._left.set()
        if self.chunks >= self._stalls_after:
            await asyncio.Event().wait()

    def _cut(self) -> None:
        self.cut = True


class Source:
    """A hundred chunks; `asked` is how many were made, `breaks_at` is the one that fails."""

    def __init__(self, breaks_at: int = 10**9) -> None:
        self.asked = 0
        self._breaks_at = breaks_at

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        for number in range(100):
            await asyncio.sleep(0)
            if number == self._breaks_at:
                raise ConnectionError("the database went away")
            self.asked += 1
            yield b"x"


def download(source: Source, stall_seconds: float = 5) -> Download:
    return Download(source.chunks(), media_type="text/csv", file_name="a.csv", stall_seconds=stall_seconds)


async def run(source: Source, client: Client, **more: Any) -> None:
    await download(source, **more)(client.scope, client.receive, client.send)


async def test_a_download_that_is_taken_whole_ends() -> None:
    source, client = Source(), Client()
    await run(source, client)
    assert (source.asked, client.chunks, client.ended, client.cut) == (100, 100, True, False)
    start = client.messages[0]
    assert dict(start["headers"])[b"content-disposition"] == b'attachment; filename="a.csv"'
    assert b"content-length" not in dict(start["headers"])


async def test_a_client_that_leaves_stops_the_chunks() -> None:
    source, client = Source(), Client(leaves_after=3)
    await run(source, client)
    assert source.asked < 10
    assert not client.ended


async def test_a_client_that_takes_nothing_is_cut_off() -> None:
    source, client = Source(), Client(stalls_after=3)
    with pytest.raises(TimeoutError):
        await run(source, client, stall_seconds=0.05)
    assert (source.asked, client.ended, client.cut) == (3, False, True)


async def test_what_fails_before_the_first_chunk_is_an_answer_and_later_a_cut() -> None:
    early, late = Client(), Client()
    with pytest.raises(ConnectionError):
        await run(Source(breaks_at=0), early)
    assert (early.messages, early.cut) == ([], False)
    with pytest.raises(ConnectionError):
        await run(Source(breaks_at=5), late)
    assert (late.chunks, late.ended, late.cut) == (5, False, True)


async def test_one_download_too_many_is_refused_and_later_ones_are_not() -> None:
    waiting = [asyncio.create_task(run(Source(), Client(stalls_after=1))) for _ in range(DOWNLOADS_MAX)]
    await asyncio.sleep(0.05)
    with pytest.raises(Busy, match="try again"):
        await run(Source(), Client())
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    client = Client()
    await run(Source(), client)
    assert client.ended
