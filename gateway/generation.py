"""One generation and who may touch it: a state machine owned by one task, which others can only interrupt.

    NEW -> HELD -> DISPATCHED -> ANSWERING -> ENDING -> SETTLED | VOID
                       ^------------' next endpoint, while nothing has been relayed

The task that runs `pipeline.answer` is the owner: only it changes the state, and nothing ever cancels it outside the states in which it
waits for a provider or for the client (DISPATCHED, ANSWERING). So a client that leaves, a time-out or a shutdown can end the relay,
but not the settlement.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from typing import Any, Final

import msgspec

from gateway.streaming import Reply
from gateway.timing import Timing
from metering.usage import Usage
from policy.caller import Caller
from policy.idempotency import Claim
from policy.privacy import Level
from policy.route import Plan
from policy.sticky import Conversation
from providers.provider import ChatRequest, Endpoint


class State(Enum):
    NEW = auto()
    HELD = auto()
    DISPATCHED = auto()
    ANSWERING = auto()
    ENDING = auto()
    SETTLED = auto()
    VOID = auto()


class Interrupt(Enum):
    CLIENT_LEFT = "the client left"
    CLIENT_STALLED = "the client took nothing for too long"
    FIRST_BYTE = "the provider sent nothing for too long"
    IDLE = "the provider stopped in the middle of its answer"
    TOTAL = "the answer took longer than a generation may"
    SHUTDOWN = "the server is stopping"


Progress = Callable[[], Awaitable[dict[str, Any] | None]]
"""Gives a live generation's row as it would be charged now; None if nothing new has been delivered since the last time."""

RELAYING: Final = (State.DISPATCHED, State.ANSWERING)
CLIENT: Final = (Interrupt.CLIENT_LEFT, Interrupt.CLIENT_STALLED)


class Interrupted(Exception):
    """Raised inside the owner where it was waiting."""

    def __init__(self, why: Interrupt) -> None:
        super().__init__(why.value)
        self.why = why


class Attempt(msgspec.Struct, kw_only=True):
    """One try at one endpoint, as `GET generation` shows it. Milliseconds from the request's arrival."""

    endpoint: str
    provider: str
    started_ms: int
    is_byok: bool = False
    status: int | None = None
    first_byte_ms: int | None = None
    ended_ms: int | None = None
    error_class: str | None = None


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How it was settled, in figures and in our own words: nothing here comes from a client or a provider. `charge` in nano-USD."""

    outcome: str
    endpoint: Endpoint | None
    usage: Usage
    charge: int
    finish_reason: str | None
    settle_seconds: float


class Generation:
    """Moments are in seconds of the loop's clock, `created_ms` is the wall clock; `held` is in nano-USD.

    `detach` says that the client has gone; True if the answer goes on without it (see `policy.tapes`).
    `adjusted` names the parameters that were dropped or changed for the endpoint that answers, `notices` are headers that belong to it.
    `level` is what may be kept of it (see `policy.privacy`); `unwatched`: its client asked for no analytics. `traceparent` is the client's.
    When it has ended, `result` says how it was settled, or `refusal` why it never was: an `error_type` of `gateway.errors`.
    """

    def __init__(
        self,
        *,
        id: str,
        request: ChatRequest,
        caller: Caller,
        reply: Reply,
        created_ms: int,
        clock: float,
        origin: str | None = None,
        title: str | None = None,
        claim: Claim | None = None,
        session_id: str | None = None,
        traced: bool = False,
        timing: Timing | None = None,
        adjusted: list[str] | None = None,
        notices: list[tuple[bytes, bytes]] | None = None,
        level: Level = "metadata",
        traceparent: str | None = None,
        unwatched: bool = False,
    ) -> None:
        self.id = id
        self.request = request
        self.caller = caller
        self.reply = reply
        self.created_ms = created_ms
        self.origin = origin
        self.title = title
        self.claim = claim
        self.session_id = session_id
        self.traced = traced
        self.timing = timing or Timing()
        self.adjusted = [] if adjusted is None else adjusted
        self.notices = [] if notices is None else notices
        self.level = level
        self.traceparent = traceparent
        self.unwatched = unwatched
        self.result: Result | None = None
        self.refusal: str | None = None
        self.plan: Plan | None = None
        self.conversation: Conversation | None = None
        self.sticky: str | None = None
        self.attempts: list[Attempt] = []
        self.state = State.NEW
        self.started = clock
        self.heard = clock
        self.owner: asyncio.Task[None] | None = None
        self.progress: Progress | None = None
        self.detach: Callable[[], bool] = lambda: False
        self.prompt_tokens: int | None = None
        self.held = 0
        self._gone = False
        self._why: Interrupt | None = None

    @property
    def client_gone(self) -> bool:
        return self._gone

    def interrupt(self, why: Interrupt) -> None:
        """Ends the wait for the provider or the client, if there is one. A client that is gone stays gone."""
        self._gone |= why in CLIENT
        if self.state in RELAYING and self._why is None and self.owner is not None:
            self._why = why
            self.owner.cancel()

    @contextmanager
    def relaying(self, clock: float) -> Iterator[None]:
        """The stretch in which `interrupt` works: inside, it arrives as Interrupted; outside, it never arrives."""
        if self._gone:
            raise Interrupted(Interrupt.CLIENT_LEFT)
        self.state, self._why = State.DISPATCHED, None
        self.heard = clock
        try:
            yield
        except asyncio.CancelledError:
            if self._why is None or self.owner is None:
                raise
            self.owner.uncancel()
            raise Interrupted(self._why) from None
        finally:
            self.state = State.ENDING
