"""One mock OpenAI-compatible provider for every gateway: raw protocol, precomputed bytes, so that it is never the bottleneck.

The prompt carries the plan (`bench:<events>:<gap in ms>;`) because it is the one thing that every gateway passes on unchanged.
A gap of 0 sends the whole stream in one write; otherwise each event leaves in a write of its own, the first at once.
"""

import argparse
import asyncio
import json
import re
from functools import lru_cache

import uvloop

WORD = "loremips"  # one per answer or event, 8 bytes: the load generator counts it
VARIANTS = 32
PLAN = re.compile(rb"bench:(\d+):(\d+);")
STREAM = re.compile(rb'"stream"\s*:\s*true')
WANTS_USAGE = re.compile(rb'"include_usage"\s*:\s*true')
LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding:\s*chunked", re.IGNORECASE)
IDENTITY = {"id": "chatcmpl-bench", "created": 1_700_000_000, "model": "mock", "system_fingerprint": "fp_bench"}
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


class Upstream(asyncio.Protocol):
    """One connection: requests are answered in the order in which they come."""

    def __init__(self) -> None:
        self.buffer = b""
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        if self.timer:
            self.timer.cancel()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (request := self.take()) is not None:
            self.answer(request)

    def take(self) -> bytes | None:
        """The next whole request, head included, or None while some of it is still to come."""
        head = self.buffer.find(b"\r\n\r\n")
        if head < 0:
            return None
        if found := LENGTH.search(self.buffer, 0, head):
            end = head + 4 + int(found[1])
        elif CHUNKED.search(self.buffer, 0, head):
            end = self.buffer.find(b"\r\n0\r\n\r\n", head) + 7
            end = len(self.buffer) + 1 if end < 7 else end
        else:
            end = head + 4
        if len(self.buffer) < end:
            return None
        request, self.buffer = self.buffer[:end], self.buffer[end:]
        return request

    def answer(self, request: bytes) -> None:
        if not STREAM.search(request):
            self.transport.write(whole_answer())
            return
        plan = PLAN.search(request)
        events, gap_ms = (int(plan[1]), int(plan[2])) if plan else (10, 0)
        usage = bool(WANTS_USAGE.search(request))
        if gap_ms == 0:
            self.transport.write(burst(events, usage))
            return
        self.transport.write(STREAM_HEAD + opening())
        self.pace(left=events, gap_s=gap_ms / 1000, last=ending(events, usage) + LAST_CHUNK)

    def pace(self, left: int, gap_s: float, last: bytes) -> None:
        if left == 0:
            self.transport.write(last)
            return
        self.transport.write(event(left % VARIANTS))
        self.timer = asyncio.get_running_loop().call_later(gap_s, self.pace, left - 1, gap_s, last)


@lru_cache
def whole_answer() -> bytes:
    message = {"role": "assistant", "content": f"{WORD} " + "dolor sit amet " * 8, "refusal": None}
    choices = [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}]
    body = dump({**IDENTITY, "object": "chat.completion", "choices": choices, "usage": usage_of(32)})
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


@lru_cache
def burst(events: int, usage: bool) -> bytes:
    return STREAM_HEAD + opening() + b"".join(event(left % VARIANTS) for left in range(events)) + ending(events, usage) + LAST_CHUNK


@lru_cache
def opening() -> bytes:
    return chunk({"role": "assistant", "content": ""})


@lru_cache
def event(variant: int) -> bytes:
    """Never the same word for long: LiteLLM takes a hundred equal chunks in a row for a model gone mad and cuts the stream."""
    return chunk({"content": f"{WORD} {variant:02d} "})


@lru_cache
def ending(events: int, usage: bool) -> bytes:
    last = dump({**IDENTITY, "object": "chat.completion.chunk", "choices": [], "usage": usage_of(events)})
    return chunk({}, finish="stop") + (sse(last) if usage else b"") + sse(b"[DONE]")


def chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}]
    return sse(dump({**IDENTITY, "object": "chat.completion.chunk", "choices": choices}))


def usage_of(completion: int) -> dict[str, int]:
    return {"prompt_tokens": 220, "completion_tokens": completion, "total_tokens": 220 + completion}


def sse(data: bytes) -> bytes:
    """One event in one HTTP chunk, as providers send it."""
    text = b"data: %b\n\n" % data
    return b"%x\r\n%b\r\n" % (len(text), text)


def dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port, backlog=2048)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    uvloop.run(main(parser.parse_args().port))
