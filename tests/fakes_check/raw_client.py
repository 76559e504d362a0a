"""A client that sees bytes: it speaks to a socket and tells how the answer came and how the connection ended."""

import gzip
import json
import socket
import time
import zlib
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.fakes.faults import Json
from tests.fakes.process import Fake


@dataclass(frozen=True)
class Seen:
    """`end` is fin, rst, or open when nothing more came in time; `reads` is what each read brought."""

    raw: bytes
    end: str
    reads: list[bytes]
    took_s: float

    @property
    def status(self) -> int:
        return int(self.raw.split(b" ", 2)[1]) if self.raw else 0

    @property
    def head(self) -> str:
        return self.raw.partition(b"\r\n\r\n")[0].decode().lower()

    @property
    def chunked_to_the_end(self) -> bool:
        return self.raw.endswith(b"0\r\n\r\n")

    @property
    def body(self) -> bytes:
        body = b"".join(self.chunks) if "transfer-encoding: chunked" in self.head else self.raw.partition(b"\r\n\r\n")[2]
        return zlib.decompressobj(wbits=31).decompress(body) if "content-encoding: gzip" in self.head else body

    @property
    def chunks(self) -> list[bytes]:
        rest, chunks = self.raw.partition(b"\r\n\r\n")[2], []
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            chunks.append(rest[: int(size, 16)])
            rest = rest[int(size, 16) + 2 :]
        return chunks

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Json:
        return json.loads(self.body)

    @property
    def data(self) -> list[str]:
        """What the `data:` lines hold, LF and CRLF streams only."""
        return [line[5:].strip() for line in self.text.split("\n") if line.startswith("data:")]

    @property
    def events(self) -> list[Json]:
        return [json.loads(data) for data in self.data if data != "[DONE]"]

    @property
    def said(self) -> str:
        deltas = [choice["delta"] for event in self.events for choice in event["choices"]]
        return "".join(delta.get("content") or "" for delta in deltas)


def connect(fake: Fake) -> socket.socket:
    url = urlsplit(fake.address)
    return socket.create_connection((url.hostname, url.port or 0), timeout=10)


def request_bytes(model: str, *, close: bool = True, headers: str = "", **body: Json) -> bytes:
    payload = json.dumps({"model": model, "messages": [{"role": "user", "content": "hi there"}], **body}).encode()
    ending = "connection: close\r\n" if close else ""
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: fake\r\ncontent-length: {len(payload)}\r\n{headers}{ending}\r\n"
    return head.encode() + payload


def ask(fake: Fake, model: str, *, quiet_s: float = 0.4, **body: Json) -> Seen:
    """One streamed chat request (`stream=False` for a whole one) on a connection of its own."""
    with connect(fake) as sock:
        sock.sendall(request_bytes(model, **{"stream": True, **body}))
        return receive(sock, quiet_s=quiet_s)


def receive(sock: socket.socket, *, quiet_s: float = 0.4) -> Seen:
    started, reads, end = time.monotonic(), [], "open"
    sock.settimeout(quiet_s)
    try:
        while data := sock.recv(1 << 20):
            reads.append(data)
        end = "fin"
    except ConnectionResetError:
        end = "rst"
    except TimeoutError:
        pass
    return Seen(b"".join(reads), end, reads, time.monotonic() - started)


def unpacked_size(body: bytes) -> int:
    return len(gzip.decompress(body))
