"""Keeps the hold ahead of a stream: a quantum at a time, asked for at 75 % used, so that a large limit needs no large balance.

Nothing beyond the held amount is ever relayed. When an extension is refused, the stream goes on to the end of what is held and is
cut there.
"""

import asyncio
from typing import Final

import msgspec

from gateway.errors import Problem, credits_exhausted, problem
from gateway.generation import Generation
from gateway.reserve import QUANTUM_TOKENS
from gateway.services import Services
from metering import price
from metering.batch import Held, Refused
from metering.errors import MeteringError
from metering.meter import Meter
from policy import route
from providers.provider import Endpoint

RETRY_SECONDS: Final = (0.1, 0.4, 1.0)


class Extension:
    """For one attempt. `tokens` per choice are paid for so far; `complete` when that is all the answer can have."""

    def __init__(self, generation: Generation, endpoint: Endpoint, tokens: int, meter: Meter, at: Services) -> None:
        self._generation = generation
        self._price = msgspec.structs.replace(endpoint.price, request=0)  # the fee of the request is in its first hold
        self._meter = meter
        self._at = at
        self._tokens = tokens
        self._tokens_max = route.output_max(generation.request, endpoint)
        self._asking: asyncio.Task[None] | None = None
        self._refused = False
        self._failure: MeteringError | None = None

    @property
    def complete(self) -> bool:
        return self._tokens >= self._tokens_max

    def look_ahead(self) -> None:
        """Called with every batch: asks for the next quantum in time, without holding up the relay."""
        if not self._final and self._meter.nearly_over:
            self._asking = self._asking or asyncio.get_running_loop().create_task(self._ask())

    async def over(self) -> bool:
        """Whether the answer has outgrown all that could be held for it, however much came at once."""
        while self._meter.over and not (self._final and self._asking is None):
            self._asking = self._asking or asyncio.get_running_loop().create_task(self._ask())
            await asyncio.shield(self._asking)
        return self._meter.over

    @property
    def _final(self) -> bool:
        return self.complete or self._refused

    @property
    def problem(self) -> Problem | None:
        """Why an answer that was cut could not go on; None if it had all it can have."""
        if self.complete:
            return None
        return credits_exhausted() if self._failure is None else problem(self._failure)

    async def _ask(self) -> None:
        """The next quantum or, the last time, as many tokens as what is left in the account can pay for."""
        try:
            outcome = await self._extend(min(QUANTUM_TOKENS, self._tokens_max - self._tokens))
            if isinstance(outcome, Refused):
                self._refused = True
                rest = self._affordable(outcome.available)
                await self._extend(rest)
        except MeteringError as error:
            self._refused, self._failure = True, error
        finally:
            self._asking = None

    async def _held(self, target: int) -> Held | Refused:
        """Asks again while the database is away: an answer that was lost is not booked twice, the target is the same."""
        for seconds in RETRY_SECONDS:
            try:
                return await self._at.ledger.extend(self._generation.id, target)
            except MeteringError:
                await asyncio.sleep(seconds)
        return await self._at.ledger.extend(self._generation.id, target)

    def _affordable(self, amount: int) -> int:
        request = self._generation.request
        return price.affordable_tokens(self._price, prompt_tokens=0, amount=amount, extras=request.extras) // request.n

    async def _extend(self, tokens: int) -> Held | Refused | None:
        if tokens < 1:
            return None
        request = self._generation.request
        amount = price.ceiling(self._price, prompt_tokens=0, completion_tokens=tokens * request.n, extras=request.extras)
        outcome = await self._held(self._generation.held + amount)
        if isinstance(outcome, Held):
            self._generation.held = outcome.amount
            self._tokens += tokens
            self._meter.raise_limit(self._tokens * request.n, strict=not self.complete)
        return outcome
