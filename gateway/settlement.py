"""How a generation's money ends: what was delivered is charged exactly, once; what was not is not.

completed                                    usage x price
broken or cancelled after content            what was delivered (the provider's own figures if it sent any) + the prompt
failed or cancelled before any content       nothing
no completion tokens and no (or an error) finish reason     nothing
"""

import asyncio
import re
from dataclasses import dataclass
from enum import Enum
from time import perf_counter
from typing import Any

import msgspec

from gateway.errors import Problem
from gateway.generation import Generation, Interrupt, Result, State
from gateway.labels import Labels
from gateway.receipt import usage_object
from gateway.services import Services
from metering import generations, price
from metering.meter import Meter
from metering.price import Cost
from metering.usage import Usage
from providers import prompt
from providers.errors import ProviderError
from providers.provider import Endpoint

FREE = Cost(0, 0, 0, ())
_WORD = re.compile(r"[A-Za-z_]{1,32}", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9._:-]{1,100}", re.ASCII)


class Outcome(Enum):
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(kw_only=True)
class End:
    """How one attempt ended. `final`: no other endpoint may be tried. `relayed`: content has left for the client, `sent` events of it.

    `own_key_id` is the customer's own key that paid the provider, None = the operator's.
    """

    outcome: Outcome
    endpoint: Endpoint | None = None
    own_key_id: str | None = None
    meter: Meter | None = None
    labels: Labels | None = None
    error: ProviderError | None = None
    interrupt: Interrupt | None = None
    problem: Problem | None = None
    relayed: bool = False
    cut: bool = False
    sent: int = 0
    checkpointed: int = 0
    final: bool = True

    @property
    def chargeable(self) -> bool:
        """Whether anything is charged at all: zero-completion insurance and failures before content."""
        if self.meter is None:
            return False
        if self.cut:
            return self.relayed
        if self.outcome is Outcome.COMPLETED:
            finish = self.labels.finish_reason if self.labels else None
            return self.meter.delivered or self.meter.completion_reported or finish not in (None, "error")
        return self.relayed and self.meter.delivered


class Receipt(msgspec.Struct, frozen=True):
    """What was charged, as the client sees it, and how many tokens that was."""

    usage: dict[str, Any]
    tokens: int


async def settle(generation: Generation, end: End, at: Services) -> Receipt:
    """Durable when it returns: the charge, the released rest and the generation's row are one transaction."""
    generation.state, began = State.ENDING, perf_counter()
    usage, source, cost = await _priced(generation, end, at)
    row = generations.row(_record(generation, end, source), usage, cost)
    if generation.level == "none":
        row.update(generations.NOTHING_BUT_BILLING)
    if cost is FREE:
        closed = await at.ledger.void(generation.id, generation=row)
    else:
        closed = await at.ledger.settle(generation.id, charge=cost.charge, held=generation.held, generation=row)
    generation.state = State.VOID if cost is FREE else State.SETTLED
    generation.result = Result(
        outcome=end.outcome.value,
        endpoint=end.endpoint,
        usage=usage,
        charge=closed.charge,
        finish_reason=end.labels.finish_reason if end.labels else None,
        settle_seconds=perf_counter() - began,
    )
    return Receipt(
        usage=usage_object(
            usage, cost, charge=closed.charge, held=generation.held, source=source or "provider", own=end.own_key_id is not None
        ),
        tokens=usage.prompt_tokens + usage.completion_tokens,
    )


async def progress(generation: Generation, end: End, at: Services) -> dict[str, Any] | None:
    """The row of a running generation with what has been delivered so far: its checkpoint.

    None if nothing new was delivered, and while the client has yet to take what was counted last: that may never be delivered.
    """
    if end.meter is None or end.sent == end.checkpointed:
        return None
    usage, source, cost = await _priced(generation, end, at)
    if end.sent != end.meter.events:
        return None
    end.checkpointed = end.sent
    charge = min(cost.charge, generation.held)
    row = generations.row(_record(generation, end, source), usage, cost)
    if generation.level == "none":
        row.update(generations.NOTHING_BUT_BILLING)
    return {**row, "outcome": "recovered", "charge": charge, "shortfall": cost.charge - charge}


async def _priced(generation: Generation, end: End, at: Services) -> tuple[Usage, str | None, Cost]:
    if not end.chargeable:
        return Usage(), None, FREE
    assert end.meter is not None
    assert end.endpoint is not None
    if not end.meter.reported and generation.prompt_tokens is None:
        generation.prompt_tokens = await prompt.count(generation.request.body.reveal(), at.tokenizer(end.endpoint.model.tokenizer))
    whole = end.outcome is Outcome.COMPLETED and not end.cut
    usage, source = end.meter.usage(generation.prompt_tokens or 0, whole=whole)
    usage = price.payable(usage, end.endpoint.price)
    return usage, source, price.cost(usage, end.endpoint.price)


def _record(generation: Generation, end: End, source: str | None) -> generations.Record:
    labels, endpoint = end.labels, end.endpoint
    duration = asyncio.get_running_loop().time() - generation.started
    return generations.Record(
        id=generation.id,
        account_id=generation.caller.account_id,
        key_id=generation.caller.key_id,
        created_at=generation.created_ms,
        model=endpoint.model.id if endpoint else generation.request.model,
        provider=endpoint.provider.slug if endpoint else None,
        endpoint=endpoint.id if endpoint else None,
        price_id=endpoint.price_id if endpoint else None,
        api_type="completions" if generation.request.operation == "chat" else "embeddings",
        streamed=generation.request.stream,
        outcome=end.outcome.value,
        finish_reason=labels.finish_reason if labels else None,
        native_finish_reason=_known(labels.native_finish_reason) if labels else None,
        error_type=end.error.error_type if end.error else end.problem.metadata["error_type"] if end.problem else None,
        upstream_id=labels.upstream_id if labels and labels.upstream_id and _ID.fullmatch(labels.upstream_id) else None,
        usage_source=source,
        held=generation.held,
        first_byte_ms=generation.attempts[-1].first_byte_ms if generation.attempts else None,
        duration_ms=int(duration * 1000),
        attempts=generation.attempts,
        origin=generation.origin,
        title=generation.title,
        own_key_id=end.own_key_id,
    )


def _known(native: str | None) -> str | None:
    """A provider's word is stored only if it looks like a word: it is their text, and might be anybody's."""
    return native if native is not None and _WORD.fullmatch(native) else None
