"""Anonymous events about the use of this installation, for PostHog: a closed list, each field a figure or one of our own words.

Off unless TOLLWAY_POSTHOG_KEY and TOLLWAY_POSTHOG_HOST are set. Nobody is in them: their only person is the process, under a random name
that ends with it, and PostHog is told to make no profile and to look up no place. A request with `Sec-GPC: 1` or `DNT: 1`, or under
logging `none`, leaves no event. Written by hand over httpx: PostHog's own package starts threads and sends what it finds of its host.
"""

import asyncio
import logging
import secrets
from collections import deque
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final

import httpx
import msgspec

from gateway.generation import Generation

QUEUE_MAX: Final = 1000
BATCH_MAX: Final = 250
SEND_SECONDS: Final = 3.0
_log = logging.getLogger("tollway.analytics")


class Operation(Enum):
    CHAT = "chat"
    EMBEDDINGS = "embeddings"


class Outcome(Enum):
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"
    REFUSED = "refused"


class GenerationEnded(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="generation_ended"):
    operation: Operation
    outcome: Outcome
    streamed: bool
    attempts: int
    prompt_tokens: int
    completion_tokens: int
    duration_ms: int


EVENTS: Final = (GenerationEnded,)
"""The closed list; a test holds that every field of each is a figure or an enum."""


class Analytics:
    """`ended` only queues; the oldest event goes when `QUEUE_MAX` wait. `flush` sends; what cannot be sent is dropped."""

    def __init__(self, key: str, host: str) -> None:
        self._key = key
        self._url = f"{host.rstrip('/')}/batch/"
        self._process = secrets.token_hex(8)
        self._queue: deque[tuple[str, GenerationEnded]] = deque(maxlen=QUEUE_MAX)
        self._client = httpx.AsyncClient(timeout=SEND_SECONDS)
        self._down = False

    def ended(self, generation: Generation) -> None:
        result = generation.result
        event = GenerationEnded(
            operation=Operation(generation.request.operation),
            outcome=Outcome(result.outcome) if result else Outcome.REFUSED,
            streamed=generation.request.stream,
            attempts=len(generation.attempts),
            prompt_tokens=result.usage.prompt_tokens if result else 0,
            completion_tokens=result.usage.completion_tokens if result else 0,
            duration_ms=int((asyncio.get_running_loop().time() - generation.started) * 1000),
        )
        self._queue.append((datetime.now(UTC).isoformat(), event))

    async def flush(self) -> None:
        """Never raises for a host that does not answer; says so once."""
        batch = [self._written(*self._queue.popleft()) for _ in range(min(len(self._queue), BATCH_MAX))]
        if not batch:
            return
        try:
            answer = await self._client.post(self._url, json={"api_key": self._key, "batch": batch})
            answer.raise_for_status()
            self._down = False
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            if not self._down:
                _log.warning("analytics are not sent: %s", type(error).__name__)
            self._down = True

    async def aclose(self) -> None:
        await self.flush()
        await self._client.aclose()

    def _written(self, at: str, event: GenerationEnded) -> dict[str, Any]:
        fields = msgspec.to_builtins(event)
        name = fields.pop("event")
        said = {**fields, "$process_person_profile": False, "$geoip_disable": True}
        return {"event": name, "distinct_id": self._process, "timestamp": at, "properties": said}
