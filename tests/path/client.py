"""A client without an SDK: it sends one chat request and keeps every byte of the answer."""

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

from tests.fakes.faults import Json

PROMPT = "Say something in a few words, canary-7f3a."


@dataclass(frozen=True)
class Answer:
    """`headers` have lower-case names. Numbers with a point are Decimals."""

    status: int
    headers: dict[str, str]
    body: bytes

    @cached_property
    def json(self) -> Json:
        return json.loads(self.body, parse_float=Decimal)

    @property
    def streamed(self) -> bool:
        return self.headers["content-type"].startswith("text/event-stream")

    @cached_property
    def data(self) -> list[str]:
        return [line[6:] for line in self.body.decode().split("\n") if line.startswith("data: ")]

    @property
    def done(self) -> int:
        return self.data.count("[DONE]")

    @cached_property
    def events(self) -> list[Json]:
        return [json.loads(data, parse_float=Decimal) for data in self.data if data != "[DONE]"]

    @property
    def choices(self) -> list[Json]:
        """Every choice of every chunk, or of the one completion."""
        return [choice for event in (self.events if self.streamed else [self.json]) for choice in event["choices"]]

    def said(self, index: int = 0, field: str = "content") -> str:
        parts = [choice.get("delta") or choice.get("message") or {} for choice in self.choices if choice["index"] == index]
        return "".join(part.get(field) or "" for part in parts)

    def reasons(self, index: int = 0) -> list[str]:
        return [choice["finish_reason"] for choice in self.choices if choice["index"] == index and choice["finish_reason"]]

    @property
    def usage(self) -> Json:
        """Of the last event; KeyError when it has none."""
        return (self.events[-1] if self.streamed else self.json)["usage"]

    @property
    def error(self) -> Json:
        """The error of a refusal or of the last event; KeyError when there is none."""
        return (self.events[-1] if self.streamed else self.json)["error"]


def ask(port: int, key: str, model: str, *, headers: dict[str, str] | None = None, **body: Json) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        sent = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", **(headers or {})}
        connection.request("POST", "/v1/chat/completions", _body(model, body), sent)
        response = connection.getresponse()
        received = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, received, response.read())


@contextlib.contextmanager
def calling(
    port: int, key: str, model: str, *, receive_bytes: int | None = None, headers: dict[str, str] | None = None, **body: Json
) -> Iterator["Line"]:
    """A request that has been sent, on a socket of its own; `receive_bytes` makes the kernel's buffer small."""
    payload = _body(model, body)
    sent = {"host": "x", "authorization": f"Bearer {key}", "content-length": str(len(payload)), **(headers or {})}
    head = "POST /v1/chat/completions HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in sent.items()) + "\r\n"
    with socket.socket() as plug:
        plug.settimeout(10)
        if receive_bytes is not None:
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        plug.connect(("127.0.0.1", port))
        plug.sendall(head.encode() + payload)
        yield Line(plug)


class Line:
    """An open connection; `received` is all that came so far."""

    def __init__(self, plug: socket.socket) -> None:
        self.socket = plug
        self.received = b""

    def read_until(self, mark: bytes, times: int = 1) -> None:
        while self.received.count(mark) < times:
            self.read()

    def read(self, size: int = 65536) -> bytes:
        data = self.socket.recv(size)
        if not data:
            raise EOFError(self.received[-500:])
        self.received += data
        return data

    def read_all(self, *, size: int = 65536, pause: float = 0) -> None:
        """Until the answer's last chunk."""
        while not self.received.endswith(b"\r\n0\r\n\r\n"):
            self.read(size)
            time.sleep(pause)

    def leave(self) -> float:
        """Closes, and gives the moment (Unix time)."""
        self.socket.close()
        return time.time()

    @property
    def generation_id(self) -> str:
        """Out of the headers, which must have come."""
        return self.received.partition(b"x-generation-id: ")[2].partition(b"\r\n")[0].decode()

    @property
    def words(self) -> int:
        """How many content chunks have come."""
        return self.received.count(b'"content":"') - self.received.count(b'"content":""')


def _body(model: str, body: Json) -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": PROMPT}], **body}).encode()
