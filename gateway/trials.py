"""Which endpoint is tried next, and what each trial says about it: the part of an attempt that health and the retry budget see."""

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from gateway.generation import CLIENT, Attempt, Generation, Interrupt
from gateway.reserve import Paid
from gateway.services import Services
from gateway.settlement import End
from policy.errors import SealBroken
from policy.health import Kind, Sample, kind_of, may_try, monotonic_ms
from providers.errors import Inexpressible, ProviderRefusedKey
from providers.provider import Call, Endpoint


def next_of(left: Paid, generation: Generation, at: Services) -> int | None:
    """The place in `left` of the endpoint to try now; None if a retry would go beyond every provider's budget.

    An endpoint whose only probe was taken since the route was planned is passed over while there is another.
    """
    places = range(len(left))
    if generation.attempts:
        places_with_room = [place for place in places if at.retries.may_retry(left[place][0].provider.slug)]
        if not places_with_room:
            at.retries.refused += 1
            return None
    else:
        places_with_room = list(places)
    ready = (place for place in places_with_room if may_try(at.health.stats(health_id(left[place][0], generation))))
    return next(ready, places_with_room[0])


def health_id(endpoint: Endpoint, generation: Generation) -> str:
    """A customer's own key has a health of its own at an endpoint."""
    own = own_key_id(endpoint, generation)
    return endpoint.id if own is None else f"{endpoint.id}#{own}"


def own_key_id(endpoint: Endpoint, generation: Generation) -> str | None:
    """The customer's own key that is used at this endpoint; None = the operator's."""
    return generation.plan.own_keys.get(endpoint.id) if generation.plan else None


def keyed(call: Call, own: str | None, generation: Generation, at: Services) -> Call:
    """The call with the customer's own key in place of the operator's, if it has one there. Opened only here, for one attempt.

    A key that does not open counts as one that the provider refused: the next endpoint is tried, and never the operator's key here.
    """
    if own is None:
        return call
    caller = generation.caller
    try:
        key = caller.own_sealed.open(own, caller.account_id, secrets=at.settings.secrets)
    except SealBroken:
        raise ProviderRefusedKey("the stored key cannot be opened") from None
    return msgspec.structs.replace(call, api_key=key)


def adjusting(generation: Generation, parameter: str) -> None:
    """A dialect drops or changes a parameter: noted for the client, or refused before anything is sent where the request forbids it."""
    if generation.plan is not None and generation.plan.require_parameters:
        raise Inexpressible(parameter, "provider.require_parameters is true, and this provider cannot keep it as it was asked.")
    generation.adjusted.append(parameter)


@contextmanager
def observed(generation: Generation, end: End, record: Attempt, at: Services) -> Iterator[None]:
    """Around one attempt: it counts as active at its provider, and its end is one sample of the endpoint's health."""
    endpoint, began = end.endpoint, monotonic_ms()
    assert endpoint is not None
    id, retry = health_id(endpoint, generation), len(generation.attempts) > 1
    at.health.started(id)
    at.retries.started(endpoint.provider.slug, retry=retry)
    kind = Kind.REQUEST  # of an attempt that we broke off ourselves nothing is learned
    try:
        yield
        kind = _kind(end, record)
    finally:
        at.health.ended(_sample(id, kind, began, end, record))


def _kind(end: End, record: Attempt) -> Kind:
    answered = record.first_byte_ms is not None
    if end.interrupt in CLIENT:
        return Kind.OK if answered else Kind.REQUEST
    if end.interrupt in (Interrupt.SHUTDOWN, Interrupt.TOTAL):
        return Kind.REQUEST
    return kind_of(end.error)


def _sample(id: str, kind: Kind, began: int, end: End, record: Attempt) -> Sample:
    now = monotonic_ms()
    first = None if record.first_byte_ms is None else max(0, record.first_byte_ms - record.started_ms)
    tokens = end.meter.paced_tokens if end.meter is not None and kind is Kind.OK else None
    return Sample(id=id, kind=kind, at_ms=now, first_byte_ms=first, tokens=tokens, seconds_ms=now - began)
