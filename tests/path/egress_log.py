"""Writes down every host and port that a process connects to: `sitecustomize` of a server under test.

Audit events show what goes through Python's sockets; uvloop's own are in libuv, so its one way out is wrapped. A name that is only looked
up counts too, on port 0.
"""

import os
import sys
from typing import Any

import uvloop

_FILE = os.open(os.environ["EGRESS_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def _note(host: Any, port: Any) -> None:
    name = host.decode() if isinstance(host, bytes) else host
    os.write(_FILE, f"{name}:{port or 0}\n".encode())


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        _note(*arguments[1][:2])
    elif event == "socket.getaddrinfo" and arguments[0]:
        _note(arguments[0], 0)


sys.addaudithook(_heard)
_connect = uvloop.Loop.create_connection


async def _create_connection(loop: Any, factory: Any, host: Any = None, port: Any = None, **more: Any) -> Any:
    if host is not None:
        _note(host, port)
    elif (sock := more.get("sock")) is not None and isinstance(sock.getpeername(), tuple):
        _note(*sock.getpeername()[:2])
    return await _connect(loop, factory, host, port, **more)


uvloop.Loop.create_connection = _create_connection
