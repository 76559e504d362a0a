"""The load generator: a raw HTTP/1.1 client with a closed loop, an open loop at a fixed rate, and streams held open."""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import perf_counter

from benchmarks.upstream import CHUNKED, LENGTH, WORD

MARK = WORD.encode()
LAST_CHUNK = b"\r\n0\r\n\r\n"
TAIL = len(LAST_CHUNK)  # also len(MARK) - 1: enough of the last read to find either across two reads
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
ANSWER_LIMIT_S = 60
CHUNKS, UNTIL_CLOSED = -1, -2  # how a body without a length ends
IN_FLIGHT_LIMIT = 512  # an open loop this far behind measures only its own queue

Payload = Callable[[], bytes]


@dataclass(slots=True)
class Sample:
    """One request: seconds from sending to the first byte (of content, if streamed), and the events that came."""

    status: int
    ttfb_s: float
    events: int


@dataclass(slots=True)
class Run:
    seconds: float = 0.0
    overloaded: bool = False  # the rate that was asked for could not be kept
    samples: list[Sample] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)  # how late the generator itself sent: its own error

    @property
    def good(self) -> list[Sample]:
        return [sample for sample in self.samples if sample.status == 200]

    @property
    def failed(self) -> int:
        return len(self.samples) - len(self.good)

    @property
    def events(self) -> int:
        return sum(sample.events for sample in self.samples)


@dataclass(frozen=True)
class Target:
    """Where the load goes; `payload()` is a whole request, each with a prompt of its own so that nobody answers from a cache."""

    port: int
    payload: Payload
    stream: bool


class Connection(asyncio.Protocol):
    def __init__(self, stream: bool) -> None:
        self.stream = stream
        self.closed = False
        self.left = CHUNKS
        self.finished: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.finish(complete=self.left == UNTIL_CLOSED)

    def begin(self, payload: bytes) -> None:
        self.head, self.tail, self.left = b"", b"", CHUNKS
        self.status, self.events, self.first = 0, 0, 0.0
        self.finished = asyncio.get_running_loop().create_future()
        self.sent = perf_counter()
        self.transport.write(payload)

    async def request(self, payload: bytes) -> Sample:
        self.begin(payload)
        assert self.finished
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                await self.finished
        except TimeoutError:
            self.transport.abort()
            return Sample(status=0, ttfb_s=ANSWER_LIMIT_S, events=self.events)
        return Sample(status=self.status, ttfb_s=self.first - self.sent, events=self.events)

    def data_received(self, data: bytes) -> None:
        if not self.stream and not self.first:
            self.first = perf_counter()
        if not self.status:
            data = self.read_head(data)
        if data or self.left == 0:
            self.read_body(data)

    def read_head(self, data: bytes) -> bytes:
        """Takes the head off and returns what came of the body."""
        self.head += data
        end = self.head.find(b"\r\n\r\n")
        if end < 0:
            return b""
        status = STATUS.match(self.head)
        self.status = int(status[1]) if status else 0
        if found := LENGTH.search(self.head, 0, end):
            self.left = int(found[1])
        elif not CHUNKED.search(self.head, 0, end):
            self.left = UNTIL_CLOSED
        return self.head[end + 4 :]

    def read_body(self, data: bytes) -> None:
        text = self.tail + data
        self.tail = text[-TAIL:]
        self.events += text.count(MARK)
        if self.events and not self.first:
            self.first = perf_counter()
        if self.left > 0:
            self.left -= len(data)
        if self.left == 0 or (self.left == CHUNKS and text.endswith(LAST_CHUNK)):
            self.finish(complete=True)

    def finish(self, complete: bool) -> None:
        """A cut or an answer without content must never pass for a fast answer: its status becomes 0."""
        if not self.finished or self.finished.done():
            return
        if self.status == 200 and not (complete and self.events):
            self.status = 0
        self.first = self.first or perf_counter()
        self.finished.set_result(None)


async def connect(target: Target) -> Connection:
    _, protocol = await asyncio.get_running_loop().create_connection(lambda: Connection(stream=target.stream), "127.0.0.1", target.port)
    return protocol


async def closed_loop(target: Target, connections: int, seconds: float) -> Run:
    """Each connection sends its next request as soon as the last one is answered."""
    run = Run()
    start = perf_counter()

    async def worker() -> None:
        connection = await connect(target)
        while perf_counter() < start + seconds:
            run.samples.append(await connection.request(target.payload()))
            if connection.closed:
                connection = await connect(target)
        connection.transport.abort()

    await asyncio.gather(*(worker() for _ in range(connections)))
    run.seconds = perf_counter() - start
    return run


async def open_loop(target: Target, rate: float, seconds: float, seed: int = 1) -> Run:
    """Requests arrive at random (Poisson) moments, the same ones for the same seed, whether or not earlier ones are answered."""
    run, idle, arrivals = Run(), [await connect(target) for _ in range(8)], random.Random(seed)
    pending: set[asyncio.Task[None]] = set()
    start = due = perf_counter()

    async def one() -> None:
        connection = idle.pop() if idle else await connect(target)
        run.samples.append(await connection.request(target.payload()))
        if not connection.closed:
            idle.append(connection)

    while (due := due + arrivals.expovariate(rate)) < start + seconds and not run.overloaded:
        await asyncio.sleep(max(0.0, due - perf_counter()))
        run.late_s.append(perf_counter() - due)
        task = asyncio.create_task(one())
        pending.add(task)
        task.add_done_callback(pending.discard)
        run.overloaded = len(pending) > IN_FLIGHT_LIMIT
    await asyncio.gather(*pending)
    run.seconds = perf_counter() - start
    for connection in idle:
        connection.transport.abort()
    return run


@asynccontextmanager
async def held_streams(target: Target, count: int, limit_s: float) -> AsyncIterator[list[Connection]]:
    """Open up to `count` streams, a few at a time, each past its first event; yields those that are open."""
    opened: list[Connection] = []
    deadline = perf_counter() + limit_s
    while len(opened) < count and perf_counter() < deadline:
        batch = [await connect(target) for _ in range(min(20, count - len(opened)))]
        for connection in batch:
            connection.begin(target.payload())
        while perf_counter() < deadline and any(not (c.first or c.closed) for c in batch):
            await asyncio.sleep(0.005)
        alive = [c for c in batch if c.events and not c.closed]
        opened += alive
        if len(alive) < len(batch):
            break
    try:
        yield opened
    finally:
        for connection in opened:
            connection.transport.abort()
