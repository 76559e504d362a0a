"""A request with an Idempotency-Key is answered once: the stage between plan and hold, the same for every POST that costs money."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from gateway.errors import BadRequest
from gateway.generation import Generation, State
from gateway.services import Services
from metering.errors import MeteringError
from metering.money import now_ms
from policy import idempotency
from policy.errors import AlreadyAsked, KeyReused
from policy.idempotency import Claim, Claimed, Ended, Running

HEADER: Final = b"idempotency-key"
INLINE_BYTES_MAX: Final = 256 * 1024
"""A larger body is hashed in a thread, as it is parsed."""
_KEY: Final = re.compile(rb"[\x20-\x7e]{1,255}")
_log = logging.getLogger("tollway.idempotency")
T = TypeVar("T")


async def claim_of(headers: dict[bytes, bytes], raw: bytes, *, route: str, account_id: str, at: Services) -> Claim:
    """Of a request that has the header. BadRequest if its value cannot be a key."""
    key = headers[HEADER]
    if _KEY.fullmatch(key) is None:
        message = "Idempotency-Key: must be 1 to 255 printable ASCII characters, for instance a UUID."
        raise BadRequest(message, param="Idempotency-Key")

    def hashed() -> Claim:
        return idempotency.claim_of(key, raw, account_id=account_id, route=route, secrets=at.settings.secrets)

    return hashed() if len(raw) <= INLINE_BYTES_MAX else await asyncio.to_thread(hashed)


async def once(generation: Generation, claim: Claim, work: Callable[[], Awaitable[T]], at: Services) -> T:
    """Does the paid `work` if this request is the key's first. AlreadyAsked or KeyReused if it is not.

    A refusal before anything was held frees the key here. Every later end is read from the hold by whoever asks next, so a release that
    is lost, and a process that dies, do no harm.
    """
    found = await at.database.write(idempotency.claim, claim, generation_id=generation.id, now=now_ms())
    if not isinstance(found, Claimed):
        raise _refusal(found)
    try:
        return await work()
    except BaseException:
        if generation.state is State.NEW:
            await _release(generation, claim, at)
        raise


def _refusal(found: Running | Ended | idempotency.OtherBody) -> AlreadyAsked | KeyReused:
    if isinstance(found, idempotency.OtherBody):
        return KeyReused(found.generation_id)
    return AlreadyAsked(found.generation_id, found.charge if isinstance(found, Ended) else None)


async def _release(generation: Generation, claim: Claim, at: Services) -> None:
    try:
        await at.database.write(idempotency.release, claim, generation_id=generation.id)
    except MeteringError as error:
        _log.warning("the Idempotency-Key of %s stays in use for a while: %s", generation.id, error)
