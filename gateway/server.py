"""Runs the application under uvicorn: one process here, or several supervised workers on one socket, all in one process group.

uvicorn rather than granian by measurement (one worker, 32 connections, CPU per request of a small JSON route): 0.038 ms against 0.062 ms.
It has no time-out for a request head that never ends, so put a proxy in front of it where strangers can connect.
"""

import asyncio
import ctypes
import logging
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.app import IDS, Tollway, create_app
from gateway.errors import Problem
from gateway.settings import Settings
from metering.database import open_database
from migrations.upgrade import upgrade
from providers import catalog

LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"
HEAD_BYTES_MAX: Final = 64 * 1024
"""Of a head, or of anything else that is neither body nor end of one, beyond what arrived together with it."""
_PR_SET_PDEATHSIG: Final = 1
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


class _Announcing(uvicorn.Server):
    """Calls `announce` with the port once the socket is open and the lifespan has started."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[int], None]) -> None:
        super().__init__(config)
        self._announce = announce

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains and exits with status 0, a second one cuts the drain short; uvicorn would raise the signal again."""
        self.force_exit = self.should_exit
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and not self.should_exit:
            self._announce(self.servers[0].sockets[0].getsockname()[1])


def listener(settings: Settings) -> socket.socket:
    """The socket, bound but deaf until the server has started. OSError says in one line that the address is taken."""
    bound = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((settings.host, settings.port))
    except OSError as error:
        bound.close()
        where = f"{settings.host} port {settings.port}"
        raise OSError(f"cannot listen on {where}: {(error.strerror or str(error)).lower()}; choose another TOLLWAY_PORT") from None
    return bound


def serve(settings: Settings, announce: Callable[[int], None] | None = None, bound: socket.socket | None = None) -> int:
    """Serves until SIGTERM or SIGINT; returns the exit status. `bound` is a socket from `listener`, if one was needed earlier."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format=LOG_FORMAT)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    if settings.workers > 1:
        asyncio.run(_check(settings))
        uvicorn.run("gateway.server:create_worker", factory=True, workers=settings.workers, **_options(settings))
        return 0
    bound = bound or listener(settings)
    app = create_app(settings)
    config = uvicorn.Config(app, **_options(settings))
    server = _Announcing(config, announce or (lambda port: None))
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(app.open())
        runner.run(server.serve(sockets=[bound]))
    return 0 if server.started else 1


async def _check(settings: Settings) -> None:
    """What would end every worker at its start ends the supervisor first, with one line."""
    catalog.load(settings.catalog or None)
    database = open_database(settings.database_url)
    try:
        await database.write(lambda session: upgrade(session.connection()))
    finally:
        await database.aclose()


def create_worker() -> Tollway:
    """The application inside a worker process, which must not outlive its supervisor: it would keep the port."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format=LOG_FORMAT)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    return create_app()


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "host": settings.host,
        "port": settings.port,
        "loop": "uvloop",
        "http": CuttingProtocol,
        "lifespan": "on",
        "access_log": False,
        "log_level": "warning",
        "server_header": False,
        "date_header": False,
        "proxy_headers": False,
        "timeout_keep_alive": 75,
        "backlog": 2048,
        "ws": "none",
        "timeout_graceful_shutdown": int(settings.drain_seconds),
    }
