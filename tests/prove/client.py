"""A client of the proofs: one chat request on a connection of its own, and exactly what had arrived when the connection ended."""

import asyncio
import json
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from metering.money import parse_usd

LINE_BYTES_MAX = 1 << 22


@dataclass
class Seen:
    """One request as its client saw it. `words` counts the chunks with content, `done` the [DONE]s; `events` are the newest few."""

    prompt: str
    port: int = 0
    status: int = 0
    generation_id: str = ""
    words: int = 0
    text: str = ""
    done: int = 0
    reasons: list[str] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)
    body: Any = None

    @property
    def last(self) -> Any:
        return self.events[-1] if self.events else self.body

    @property
    def cost(self) -> int | None:
        """What the client was told it was charged, nano-USD; None if it was told nothing."""
        usage = (self.last or {}).get("usage")
        return parse_usd(format(usage["cost"], "f")) if usage else None

    @property
    def cut_off(self) -> bool:
        """Neither an answer nor a refusal: the connection ended, or there was none."""
        return self.cost is None and not self.error

    @property
    def error(self) -> Any:
        return (self.last or {}).get("error")


async def chat(seen: Seen, *, port: int, key: str, model: str, keep_text: bool = True, **body: Any) -> Seen:
    """Sends the request and fills `seen` until the answer or the connection ends; never raises for either. Numbers are Decimals."""
    seen.port = port
    payload = json.dumps({"model": model, "messages": [{"role": "user", "content": seen.prompt}], **body}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nconnection: close\r\n"
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=LINE_BYTES_MAX)
    except OSError:
        return seen
    try:
        writer.write(f"{head}content-length: {len(payload)}\r\n\r\n".encode() + payload)
        streamed = await _head(reader, seen)
        if not streamed:
            seen.body = _decoded(await reader.read())
            return seen
        async for line in reader:
            if line.startswith(b"data: "):
                take(line[6:].strip(), seen, keep_text=keep_text)
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()
    return seen


async def _head(reader: asyncio.StreamReader, seen: Seen) -> bool:
    """Whether an event stream follows."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    seen.status = int(head[0].split(" ")[1])
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
    seen.generation_id = headers.get("x-generation-id", "")
    return headers.get("content-type", "").startswith("text/event-stream")


def take(data: bytes, seen: Seen, *, keep_text: bool) -> None:
    """One `data:` of a stream, without its prefix."""
    if data == b"[DONE]":
        seen.done += 1
        return
    event = _decoded(data)
    if event is None:
        return
    seen.events = [*seen.events[-2:], event]
    for choice in event["choices"]:
        content = choice["delta"].get("content")
        if content:
            seen.words += 1
            seen.text += content if keep_text else ""
        if choice["finish_reason"]:
            seen.reasons.append(choice["finish_reason"])


def _decoded(data: bytes) -> Any:
    """None for what the end of the connection has cut."""
    try:
        return json.loads(data, parse_float=Decimal)
    except ValueError:
        return None
