"""A file that is made while it is sent: read only as fast as the client takes it, and cut off, never ended, when something fails."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from gateway.asgi import cutter
from gateway.errors import Busy

DOWNLOADS_MAX: Final = 8
"""At once in one process; each keeps a page or a Parquet row group in memory."""

_slots: Final = asyncio.Semaphore(DOWNLOADS_MAX)


class Download(ASGIResponse):
    """Chunked. What fails before the first chunk is an answer with its status; what fails later closes the connection in mid-body.

    When the client leaves, or takes nothing for `stall_seconds`, no further chunk is asked for.
    """

    _should_set_content_length = False

    def __init__(self, chunks: AsyncGenerator[bytes, None], *, media_type: str, file_name: str, stall_seconds: float) -> None:
        headers = {"content-disposition": f'attachment; filename="{file_name}"', "cache-control": "no-store"}
        super().__init__(headers=headers, media_type=media_type)
        self._chunks = chunks
        self._stall_seconds = stall_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _slots.locked():
            raise Busy(f"{DOWNLOADS_MAX} downloads are running; try again in a moment.")
        async with _slots, aclosing(self._chunks) as chunks:
            first = await anext(chunks, b"")
            await self.start_response(send)
            gone = asyncio.create_task(_disconnect(receive))
            try:
                await self._send(first, chunks, send, gone)
            except BaseException:
                cutter(scope)()  # type: ignore[arg-type]
                raise
            finally:
                gone.cancel()

    async def _send(self, first: bytes, chunks: AsyncGenerator[bytes, None], send: Send, gone: "asyncio.Task[None]") -> None:
        await self._pass(first, send)
        async for chunk in chunks:
            if gone.done():
                return
            await self._pass(chunk, send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pass(self, chunk: bytes, send: Send) -> None:
        async with asyncio.timeout(self._stall_seconds):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def _disconnect(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
