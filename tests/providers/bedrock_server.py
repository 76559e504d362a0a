"""A Bedrock for one test: answers every POST as it is told and keeps what it was sent; and what the dialect makes of its answers."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from providers.bedrock import BedrockDialect
from providers.provider import Call, Event
from providers.wire import Bounds, Wire
from tests.fakes.bedrock_frames import event, exception
from tests.providers.bedrock_sent import USER
from tests.providers.bedrock_sent import call as call_of

AT_MS = 1_764_000_000_000
START: dict[str, Any] = {"messageStart": {"role": "assistant", "p": "abcdefghij"}}
STOP: dict[str, Any] = {"messageStop": {"stopReason": "end_turn", "p": "abc"}}
USAGE = {"inputTokens": 20, "outputTokens": 61, "totalTokens": 90, "cacheReadInputTokens": 7, "cacheWriteInputTokens": 2}
METADATA: dict[str, Any] = {"metadata": {"metrics": {"latencyMs": 1275}, "usage": USAGE, "p": "abcdefg"}}


class Server:
    """`sent` has (target, headers, body) of every request."""

    def __init__(self) -> None:
        self.status, self.headers, self.body = 200, {"content-type": "application/vnd.amazon.eventstream"}, b""
        self.bodies: dict[str, bytes] = {}
        self.sent: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.open = self.most = 0
        self.base_url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most = max(self.open, self.most)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
            headers = dict(each.split(": ", 1) for each in lines)
            raw = await reader.readexactly(int(headers["content-length"]))
            self.sent.append((line.split(" ")[1], headers, json.loads(raw)))
            await asyncio.sleep(0.01)
            head = [f"HTTP/1.1 {self.status} X", *(f"{name}: {value}" for name, value in self.headers.items()), "connection: close", "", ""]
            writer.write("\r\n".join(head).encode() + self.bodies.get(raw.decode(), self.body))
            await writer.drain()
        self.open -= 1
        writer.close()


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.base_url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/prefix/"
    try:
        yield server
    finally:
        listening.close()


def call(server: Server, *, stream: bool = True, **fields: Any) -> Call:
    made, _ = call_of(USER, stream=stream, base_url=server.base_url, **fields)
    return made


async def answer(server: Server, body: bytes | object, wanted: Call) -> list[Event]:
    """The events of one answer; nothing stays open."""
    server.body = body if isinstance(body, bytes) else json.dumps(body).encode()
    dialect = BedrockDialect(Wire(Bounds()), clock=lambda: AT_MS)
    try:
        return [event async for batch in dialect.stream(wanted) for event in batch]
    finally:
        await asyncio.sleep(0)
        await dialect.aclose()


def frames(*events: dict[str, Any]) -> bytes:
    """Each is {name: fields}; `!name` is an exception."""
    named = [next(iter(each.items())) for each in events]
    return b"".join(exception(name[1:], fields) if name.startswith("!") else event(name, fields) for name, fields in named)


def grown(delta: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return {"contentBlockDelta": {"contentBlockIndex": index, "delta": delta, "p": "abcd"}}


def begun(id: str, name: str, index: int) -> dict[str, Any]:
    return {"contentBlockStart": {"contentBlockIndex": index, "start": {"toolUse": {"toolUseId": id, "name": name}}}}


def ended(index: int = 0) -> dict[str, Any]:
    return {"contentBlockStop": {"contentBlockIndex": index, "p": "ab"}}


def joined(events: list[Event]) -> dict[str, Any]:
    """What a client puts together from the chunks: texts and arguments joined, details by their index."""
    message: dict[str, Any] = {"content": "", "reasoning": "", "tool_calls": [], "reasoning_details": []}
    reasons: dict[str, Any] = {}
    for choice in (choice for each in events for choice in each["choices"]):
        delta = choice["delta"]
        message["content"] += delta.get("content") or ""
        message["reasoning"] += delta.get("reasoning") or ""
        for made in delta.get("tool_calls", []):
            if "id" in made:
                assert made["index"] == len(message["tool_calls"])
                message["tool_calls"].append({"id": made["id"], "type": "function", "function": dict(made["function"])})
            else:
                message["tool_calls"][made["index"]]["function"]["arguments"] += made["function"]["arguments"]
        for detail in delta.get("reasoning_details", []):
            known = [each for each in message["reasoning_details"] if each["index"] == detail["index"]]
            if known:
                known[0] |= {**detail, "text": known[0]["text"] + detail["text"]}
            else:
                message["reasoning_details"].append(dict(detail))
        if choice.get("finish_reason"):
            assert not reasons
            reasons = {name: choice[name] for name in ("finish_reason", "native_finish_reason")}
    return {**message, **reasons}
