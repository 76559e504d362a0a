"""A wire without a network: every request is answered with the same bytes, in the same pieces, through the wire's own response."""

from collections.abc import Callable

from providers.connection import Connection
from providers.wire import Bounds, Response, Wire


class Tape(Connection):
    """A connection whose answer has come already, in these pieces."""

    def __init__(self, status: int, pieces: list[bytes]) -> None:
        super().__init__(lambda _: None, lambda _: None)
        self.status, self.headers, self._pieces = status, {"x-amzn-bedrock-input-token-count": "3"}, iter(pieces)

    async def read(self) -> bytes | None:
        return next(self._pieces, None)

    def finish(self, linger_seconds: float) -> None:
        pass

    def abort(self) -> None:
        pass


class Tapes(Wire):
    """Every POST is given the same answer."""

    def __init__(self, bounds: Bounds) -> None:
        super().__init__(bounds)
        self.status, self.pieces = 200, [b""]

    async def post(self, url: str, *, headers: dict[str, str], body: bytes, on_connect: Callable[[], None] = lambda: None) -> Response:
        return Response(Tape(self.status, self.pieces), self.bounds)
