"""How a client's connection is spoken to: uvicorn's HTTP/1.1 protocol without some of its gaps."""

from typing import Any, Final

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.app import IDS
from gateway.errors import Problem

HEAD_BYTES_MAX: Final = 64 * 1024
"""Of a head, or of anything else that is neither body nor end of one, beyond what arrived together with it."""
_REFUSAL: Final = (
    b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nx-request-id: %b\r\nconnection: close\r\n\r\n%b"
)


class CuttingProtocol(HttpToolsProtocol):
    """uvicorn's protocol, without some of its gaps.

    The application can close a connection whose client takes nothing, for which ASGI has no word (see `gateway.asgi.cutter`). Heads,
    chunk extensions and trailers are bounded, none of which the parser does: it gathers them in memory. And the end of a connection
    reaches the request that is being answered, not only the newest one that a client has pipelined behind it.
    """

    _unused = 0
    _answering: RequestResponseCycle | None = None

    def data_received(self, data: bytes) -> None:
        self._unused += len(data)
        super().data_received(data)
        if self._unused > HEAD_BYTES_MAX and not self.transport.is_closing():
            self._refuse(431, b"Request Header Fields Too Large", f"The request's headers are larger than {HEAD_BYTES_MAX} bytes.")

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, b"Bad Request", "This is not a valid HTTP/1.1 request.")

    def _refuse(self, status: int, phrase: bytes, message: str) -> None:
        """JSON like every other refusal, unless it would land inside another answer."""
        if self.cycle is None or not self.cycle.response_started or self.cycle.response_complete:
            body = msgspec.json.encode(Problem(status, message, {"error_type": "invalid_request"}).body())
            self.transport.write(_REFUSAL % (status, phrase, len(body), IDS.request(), body))
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {"tollway.cut": {"cut": self.transport.abort}}

    def on_headers_complete(self) -> None:
        self._unused = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unused = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unused = 0
        super().on_message_complete()
