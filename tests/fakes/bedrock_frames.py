"""AWS event-stream messages as bytes, made here from Amazon's description of the encoding: lengths, headers, payload, two checksums."""

import struct
import zlib
from collections.abc import Callable

from tests.fakes.faults import Json
from tests.fakes.framing import dumps

STRING = 7
TYPE = "application/vnd.amazon.eventstream"


def message(headers: dict[str, str], payload: bytes) -> bytes:
    named = b"".join(_header(name, value) for name, value in headers.items())
    prelude = struct.pack("!II", 16 + len(named) + len(payload), len(named))
    whole = prelude + struct.pack("!I", zlib.crc32(prelude)) + named + payload
    return whole + struct.pack("!I", zlib.crc32(whole))


def event(kind: str, data: Json) -> bytes:
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return message(headers, dumps(data).encode("utf-8", "replace"))


def exception(kind: str, data: Json) -> bytes:
    headers = {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}
    return message(headers, dumps(data).encode("utf-8", "replace"))


def framer() -> Callable[[Json], bytes]:
    """An event's data is {name: fields}, an exception's name with a `!` before it; raw text becomes a message whose checksum is wrong."""

    def frame(data: Json) -> bytes:
        if isinstance(data, str):
            broken = event("contentBlockDelta", {"delta": data})
            return broken[:-1] + bytes([broken[-1] ^ 1])
        (name, fields) = next(iter(data.items()))
        return exception(name[1:], fields) if name.startswith("!") else event(name, fields)

    return frame


def _header(name: str, value: str) -> bytes:
    return bytes([len(name)]) + name.encode() + bytes([STRING]) + struct.pack("!H", len(value.encode())) + value.encode()
