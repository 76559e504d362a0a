"""Runs the application under uvicorn: one process here, or several supervised workers on one socket, all in one process group.

uvicorn rather than granian by measurement (one worker, 32 connections, CPU per request of a small JSON route): 0.038 ms against 0.062 ms.
It has no time-out for a request head that never ends, so put a proxy in front of it where strangers can connect.
"""

import asyncio
import ctypes
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

import uvicorn

from gateway import logs
from gateway.app import Tollway, create_app
from gateway.protocol import CuttingProtocol
from gateway.settings import Settings
from metering.database import open_database
from migrations.upgrade import upgrade
from providers import catalog

_PR_SET_PDEATHSIG: Final = 1


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
    logs.install(settings.log_format)
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
    settings = Settings.load()
    logs.install(settings.log_format)
    return create_app(settings)


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "host": settings.host,
        "port": settings.port,
        "loop": "uvloop",
        "http": CuttingProtocol,
        "lifespan": "on",
        "access_log": False,
        "log_config": None,  # uvicorn's own would print the text of exceptions
        "log_level": "warning",
        "server_header": False,
        "date_header": False,
        "proxy_headers": False,
        "timeout_keep_alive": 75,
        "backlog": 2048,
        "ws": "none",
        "timeout_graceful_shutdown": int(settings.drain_seconds),
    }
