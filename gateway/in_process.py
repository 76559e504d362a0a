"""A request to a hot route from inside the process: the same door, the same checks, the same charge as over a socket, answered whole."""

import asyncio
from typing import Any, Final

from gateway.api import chat
from gateway.api.inference import serve
from gateway.services import Services

PATH: Final = "/api/v1/chat/completions"


async def chat_completion(raw: bytes, token: str, at: Services) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of `POST chat/completions`; whoever is cancelled while they wait has left, as a client would have."""
    headers = [(b"authorization", f"Bearer {token}".encode()), (b"content-type", b"application/json")]
    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": PATH, "headers": headers}
    answer = _Answer(raw)
    try:
        await serve(chat.API, scope, answer.receive, answer.send, at)
    finally:
        answer.left.set()
    return answer.status, answer.headers, b"".join(answer.parts)


class _Answer:
    """The client's side of one exchange."""

    def __init__(self, raw: bytes) -> None:
        self._raw: bytes | None = raw
        self.left = asyncio.Event()
        self.status = 0
        self.headers: dict[str, str] = {}
        self.parts: list[bytes] = []

    async def receive(self) -> dict[str, Any]:
        if self._raw is not None:
            raw, self._raw = self._raw, None
            return {"type": "http.request", "body": raw, "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in message["headers"]}
            return
        self.parts.append(message.get("body", b""))
        if not message.get("more_body"):
            self.left.set()
