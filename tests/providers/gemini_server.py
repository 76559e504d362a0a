"""A Google for one test: answers every POST as it is told, keeps what it was sent, and builds the events that it says."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from metering.price import Price
from providers.content import Content
from providers.gemini import GeminiDialect
from providers.provider import Call, ChatRequest, Endpoint, Event, Model, Operation, Provider
from providers.wire import Bounds, Wire

GENERATION = "gen-1764000000-abcdefghij0123456789"


class Server:
    """Answers every POST with `status`, `headers` and `body`, then closes; keeps request lines, headers and bodies."""

    def __init__(self) -> None:
        self.status, self.headers, self.bodies = 200, {"content-type": "text/event-stream"}, [b""]
        self.sent: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.base_url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
            headers = dict(line.split(": ", 1) for line in lines)
            self.sent.append((line, headers, json.loads(await reader.readexactly(int(headers["content-length"])))))
            head = [f"HTTP/1.1 {self.status} X", *(f"{name}: {value}" for name, value in self.headers.items()), "connection: close", "", ""]
            writer.write("\r\n".join(head).encode() + (self.bodies.pop(0) if len(self.bodies) > 1 else self.bodies[0]))
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.base_url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/prefix/v1beta/"
    try:
        yield server
    finally:
        listening.close()


def call(server: Server, *, stream: bool = True, n: int = 1, operation: Operation = "chat", **fields: object) -> Call:
    provider = Provider(slug="google", name="Google", dialect="gemini", base_url=server.base_url)
    model = Model(id="google/flash", name="Flash", company="google", context_length=1000)
    price = Price(prompt=1, completion=1)
    endpoint = Endpoint(
        id="g/flash", model=model, provider=provider, upstream_model="tuned/fast 1", price=price, price_id=price.id, context_length=1000
    )
    body = fields or {"messages": [{"role": "user", "content": "Hi"}]}
    request = ChatRequest(
        body=Content(body),
        operation=operation,
        model=model.id,
        stream=stream,
        include_usage=False,
        max_tokens=None,
        n=n,
        prompt_tokens_max=10,
    )
    return Call(request=request, endpoint=endpoint, api_key="the-key", max_tokens=None, generation_id=GENERATION)


async def answer(server: Server, body: bytes | str, wanted: Call) -> list[Event]:
    """The events of one answer; nothing stays open."""
    server.bodies = [body.encode() if isinstance(body, str) else body]
    wire = Wire(Bounds())
    dialect = GeminiDialect(wire)
    try:
        return [event async for batch in dialect.stream(wanted) for event in batch]
    finally:
        await asyncio.sleep(0)
        await dialect.aclose()


def sse(*events: object) -> str:
    return "".join(f"data: {event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)}\r\n\r\n" for event in events)


def said(*parts: dict[str, Any], finish: str | None = None, index: int | None = 0, usage: dict[str, Any] | None = None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}}
    if finish:
        candidate["finishReason"] = finish
    if index is not None:
        candidate["index"] = index
    return {
        "candidates": [candidate],
        **({"usageMetadata": usage} if usage else {}),
        "modelVersion": "gemini-x",
        "responseId": "mAitaLmkHPPlz7IP",
    }
