"""Writes one HTTP response: head, coding (chunked or by length), packing, and where the bytes are cut into writes."""

import asyncio
import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import responses

from tests.fakes.answers import Wish
from tests.fakes.faults import Json
from tests.fakes.framing import dumps
from tests.fakes.http1 import Request, Wire
from tests.fakes.ledger import Record
from tests.fakes.plans import Plan
from tests.fakes.tongue import Tongue

BLOCK = 256 << 10
JSON_TYPE = "application/json"
OPERATOR_HEADERS = {"openai-organization": "org-operator-secret", "openai-version": "2020-10-01", "openai-processing-ms": "7"}


@dataclass(frozen=True)
class Exchange:
    """One request on its way to an answer."""

    wire: Wire
    request: Request
    record: Record
    plan: Plan = field(default_factory=Plan)
    wish: Wish | None = None
    tongue: Tongue = field(default_factory=Tongue)

    async def forever(self) -> None:
        """Silence, until the client leaves."""
        await asyncio.get_running_loop().create_future()

    def reset(self) -> bool:
        self.record.finish("failed")
        self.wire.reset()
        return False

    def close(self) -> bool:
        self.record.finish("failed")
        self.wire.close()
        return False


async def send_head(x: Exchange, status: int, headers: dict[str, str]) -> None:
    x.record.status = status
    shown = {"date": "Thu, 01 Jan 2026 00:00:00 GMT", "x-request-id": f"req_fake_{x.record.id}", **headers}
    if not x.request.keep_alive:
        shown["connection"] = "close"
    lines = [f"HTTP/1.1 {status} {responses.get(status, 'Unknown')}", *(f"{name}: {value}" for name, value in shown.items()), ""]
    encoded = [f"{line}\r\n".encode("latin-1", "replace") for line in lines]
    if not x.plan.has("slow-headers"):
        x.wire.write(b"".join(encoded))
        return
    for line in encoded:
        await x.wire.send(line)
        await asyncio.sleep(x.plan.seconds("header_ms"))


async def send_body(
    x: Exchange, status: int, body: bytes, *, kind: str = JSON_TYPE, headers: dict[str, str] | None = None, outcome: str = "failed"
) -> bool:
    """A whole response with its length; the outcome is booked when its last part is written."""
    if x.plan.has("gzip"):
        body = gzip.compress(body, 1)
        headers = {**(headers or {}), "content-encoding": "gzip"}
    await send_head(x, status, {"content-type": kind, "content-length": str(len(body)), **(headers or {})})
    parts = list(cuts(body, x.plan)) or [b""]
    for part in parts[:-1]:
        await x.wire.send(part)
        await gap(x.plan)
    x.record.finish(outcome)
    await x.wire.send(parts[-1])
    return x.request.keep_alive


async def send_json(
    x: Exchange, status: int, value: Json, *, headers: dict[str, str] | None = None, outcome: str = "failed", kind: str = JSON_TYPE
) -> bool:
    if outcome == "failed":
        status, value = x.tongue.refusal(status, value)
        headers = {**x.tongue.refusal_headers(status), **(headers or {})}
    return await send_body(x, status, dumps(value).encode("utf-8", "replace"), headers=headers, outcome=outcome, kind=kind)


class ChunkedBody:
    """A body in chunked coding, packed where the plan says so."""

    def __init__(self, x: Exchange) -> None:
        self._x = x
        self._packer = zlib.compressobj(1, wbits=31) if x.plan.has("gzip") else None

    async def write(self, data: bytes) -> None:
        if self._packer:
            data = self._packer.compress(data) + self._packer.flush(zlib.Z_SYNC_FLUSH)
        for part in cuts(data, self._x.plan):
            await self._x.wire.send(_chunk(part))
            await gap(self._x.plan)

    async def end(self) -> bool:
        if self._packer:
            self._x.wire.write(_chunk(self._packer.flush()))
        await self._x.wire.send(b"0\r\n\r\n")
        return self._x.request.keep_alive


async def gap(plan: Plan) -> None:
    """Time for the other side to read what it has."""
    if plan.has("split-bytes", "split-at") and plan.number("gap_ms"):
        await asyncio.sleep(plan.seconds("gap_ms"))


def cuts(data: bytes, plan: Plan) -> Iterator[bytes]:
    """The parts of one event, or of a body, that are written by themselves."""
    if plan.has("split-bytes"):
        yield from (data[at : at + 1] for at in range(len(data)))
        return
    if plan.has("split-at"):
        first, data = data[: plan.number("n")], data[plan.number("n") :]
        yield from [first] if first else []
    yield from (data[at : at + BLOCK] for at in range(0, len(data), BLOCK))


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
