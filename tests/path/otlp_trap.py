"""A collector for tests: takes OTLP over HTTP on a real socket, keeps the raw bytes, and decodes the spans; or events as JSON."""

import contextlib
import gzip
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue


class Trap:
    """`bodies` are (path, bytes) as they came, unzipped; `heads` everything that stood before them."""

    def __init__(self) -> None:
        self.bodies: list[tuple[str, bytes]] = []
        self.heads: list[str] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def spans(self) -> list[Any]:
        found = []
        for path, body in list(self.bodies):
            if path == "/v1/traces":
                request = ExportTraceServiceRequest.FromString(body)
                found += [span for each in request.resource_spans for scope in each.scope_spans for span in scope.spans]
        return found

    @property
    def events(self) -> list[dict[str, Any]]:
        return [event for path, body in list(self.bodies) if path == "/batch/" for event in json.loads(body)["batch"]]

    def wait_for_spans(self, number: int, name: str = "", within_s: float = 10) -> list[Any]:
        until = time.monotonic() + within_s
        while len(found := [span for span in self.spans if span.name.startswith(name)]) < number:
            assert time.monotonic() < until, [span.name for span in self.spans]
            time.sleep(0.05)
        return found


def attributes(span: Any) -> dict[str, Any]:
    return {item.key: _value(item.value) for item in span.attributes}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, str(kind))


@contextlib.contextmanager
def trap() -> Iterator[Trap]:
    caught = Trap()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["content-length"]))
            caught.heads.append(f"{self.requestline}\n{self.headers}")
            caught.bodies.append((self.path, gzip.decompress(raw) if self.headers.get("content-encoding") == "gzip" else raw))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        caught.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield caught
        finally:
            server.shutdown()
            thread.join()
