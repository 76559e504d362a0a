"""The fake provider's process: `python -m tests.fakes.provider [--port 0] [--host 127.0.0.1]` prints `READY <address>` and serves."""

import argparse
import asyncio
import ctypes
import itertools
import json
import os
import signal
import sys
import traceback

from tests.fakes.anthropic import answer_anthropic, is_anthropic
from tests.fakes.bedrock import answer_bedrock, is_bedrock
from tests.fakes.chat import answer_chat
from tests.fakes.completions import error_body
from tests.fakes.control import control
from tests.fakes.embeddings import answer_embeddings
from tests.fakes.faults import FAULTS, Json
from tests.fakes.gemini import answer_gemini, is_gemini
from tests.fakes.http1 import BadRequestError, ClientGoneError, Wire, read_request
from tests.fakes.ledger import Ledger
from tests.fakes.plans import Plans
from tests.fakes.sending import Exchange, send_json

CREATED = 1_700_000_000
PR_SET_PDEATHSIG = 1


class Provider:
    """All that one process knows: ledger, plans, open connections."""

    def __init__(self) -> None:
        self.ledger, self.plans = Ledger(), Plans()
        self._wires: set[Wire] = set()
        self._serials = itertools.count(1)
        self._accepted = 0
        self._in_flight = 0

    def wire(self) -> Wire:
        wire = Wire(serve=self._converse, closed=self._wires.discard)
        self._wires.add(wire)
        self._accepted += 1
        return wire

    def connections(self) -> dict[str, int]:
        """Connections that have asked the control API are not counted."""
        open_now = sum(not wire.control for wire in self._wires)
        return {"open": open_now, "in_flight": self._in_flight, "total": self._accepted}

    async def _converse(self, wire: Wire) -> None:
        """Nothing that goes wrong here leaves the connection."""
        try:
            while await self._one(wire):
                pass
        except ClientGoneError:
            pass
        except BadRequestError as error:
            wire.write(_raw(error.status, error_body(str(error), kind="invalid_request_error")))
        except Exception:  # noqa: BLE001 - the edge: one connection's failure is noted and ends there
            self.ledger.internal_errors.append(traceback.format_exc())
            traceback.print_exc()
        finally:
            wire.close()

    async def _one(self, wire: Wire) -> bool:
        request = await read_request(wire)
        if request.path.startswith("/control/"):
            self._accepted -= not wire.control
            wire.control = True
            reply = control(self, request)
            await wire.send(_raw(reply.status, reply.body, keep_alive=request.keep_alive))
            return request.keep_alive
        wire.serial = wire.serial or next(self._serials)
        record = self.ledger.open(path=request.path, connection=wire.serial, headers=request.headers)
        exchange = Exchange(wire, request, record)
        self._in_flight += 1
        wire.on_leave = record.left
        try:
            return await self._answer(exchange)
        finally:
            wire.on_leave = None
            self._in_flight -= 1
            record.finish("failed")

    async def _answer(self, x: Exchange) -> bool:
        path, method = x.request.path, x.request.method
        if method == "POST" and is_anthropic(path):
            return await answer_anthropic(x, self.plans)
        if method == "POST" and is_bedrock(path):
            return await answer_bedrock(x, self.plans)
        if method == "POST" and is_gemini(path):
            return await answer_gemini(x, self.plans)
        if path.endswith("/chat/completions"):
            if method == "POST":
                return await answer_chat(x, self.plans)
            return await send_json(x, 405, error_body(f"Not allowed to {method} here.", kind="invalid_request_error"))
        if method == "POST" and path.endswith("/embeddings"):
            return await answer_embeddings(x, self.plans)
        if method == "GET" and path == "/v1/models":
            return await send_json(x, 200, {"object": "list", "data": [_model(name) for name in ("fast-1", *FAULTS)]}, outcome="served")
        if method == "GET" and path.startswith("/v1/models/"):
            return await send_json(x, 200, _model(path.removeprefix("/v1/models/")), outcome="served")
        return await send_json(x, 404, error_body(f"Invalid URL ({method} {path})", kind="invalid_request_error"))


def _model(name: str) -> dict[str, Json]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "fake"}


def _raw(status: int, value: Json, *, keep_alive: bool = False) -> bytes:
    body = json.dumps(value).encode()
    end = b"" if keep_alive else b"connection: close\r\n"
    return b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%b\r\n%b" % (status, len(body), end, body)


def die_with_parent() -> None:
    """Linux only: the kernel ends this process when the thread that started it ends."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            sys.exit("the parent is gone")


async def serve(host: str, port: int) -> None:
    provider, loop, stop = Provider(), asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = await loop.create_server(provider.wire, host, port, backlog=2048)
    address = server.sockets[0].getsockname()
    print(f"READY http://{address[0]}:{address[1]}", flush=True)
    await stop.wait()
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.provider", description="A fake OpenAI-compatible provider.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    die_with_parent()
    asyncio.run(serve(arguments.host, arguments.port))


if __name__ == "__main__":
    main()
