"""A provider that answers each request with the script it was given last: any status, any headers, any bytes, slowly or never."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = Any
USAGE = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14, "prompt_tokens_details": {"cached_tokens": 4}}


@dataclass(frozen=True)
class Script:
    """One answer. `parts` are sent as chunks, `pause` seconds apart; `hold` seconds of silence before the end, or in its place."""

    parts: tuple[bytes, ...]
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    pause: float = 0
    hold: float = 0
    first: float = 0


def chunk(delta: Json, finish: str | None = None, **more: Json) -> Json:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "up", "choices": [choice], **more}


def stream(*deltas: Json, finish: str = "stop", **how: Any) -> Script:
    """Deltas, or whole events where one has `choices` or `error`."""
    events = [each if "choices" in each or "error" in each else chunk(each) for each in deltas]
    parts = [b"data: " + json.dumps(each).encode() + b"\n\n" for each in [*events, chunk({}, finish, usage=USAGE)]]
    return Script((*parts, b"data: [DONE]\n\n"), headers={"content-type": "text/event-stream"}, **how)


def raw_stream(*parts: bytes, **how: Any) -> Script:
    return Script(parts, headers={"content-type": "text/event-stream"}, **how)


def whole(message: Json, finish: str = "stop", **more: Json) -> Script:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "up", "choices": [choice], "usage": USAGE, **more}
    return document(body)


def document(body: Json, status: int = 200, **headers: str) -> Script:
    return Script((json.dumps(body).encode(),), status, {"content-type": "application/json", **headers})


def error(status: int, message: str, **more: Json) -> Script:
    return document({"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None, **more}}, status)


class Provider:
    """`says` is the script of every request from now on; None answers each as it asks to be answered."""

    def __init__(self) -> None:
        self.says: Script | None = None
        self.requests = 0
        self.base_url = ""

    def script(self, path: str, body: Json) -> Script:
        if self.says is not None:
            return self.says
        if path.endswith("/embeddings"):
            given = body.get("input")
            rows = [{"object": "embedding", "index": place, "embedding": [0.5]} for place in range(len(given) if _many(given) else 1)]
            return document({"object": "list", "data": rows, "model": "up", "usage": {"prompt_tokens": 3, "total_tokens": 3}})
        return stream({"content": "Fine."}) if body.get("stream") else whole({"content": "Fine."})


def _many(given: Json) -> bool:
    return isinstance(given, list) and not isinstance(given[0], int)


@contextlib.contextmanager
def scripted() -> Iterator[Provider]:
    provider = Provider()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            provider.requests += 1
            script = provider.script(self.path, body)
            _play(self, script)

        def handle(self) -> None:
            with contextlib.suppress(OSError):  # the gateway was killed, or had enough
                super().handle()

        def log_message(self, format: str, *args: Any) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    provider.base_url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()


def _play(handler: BaseHTTPRequestHandler, script: Script) -> None:
    time.sleep(script.first)
    handler.send_response(script.status)
    for name, value in {**script.headers, "transfer-encoding": "chunked"}.items():
        handler.send_header(name, value)
    handler.end_headers()
    for part in script.parts:
        handler.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
        handler.wfile.flush()
        time.sleep(script.pause)
    time.sleep(script.hold)
    handler.wfile.write(b"0\r\n\r\n")
