"""A generation's route: what `route.plan` is told about it, and what its end teaches the conversation's next request."""

from gateway.deprecation import day
from gateway.generation import Generation
from gateway.services import Services
from gateway.settlement import End, Outcome
from policy import sticky
from policy.route import Plan, draw_of, plan


async def routed(generation: Generation, at: Services) -> Plan:
    """The endpoints in order, under the account's rules, by what is known of their health, and drawn by the generation's id."""
    request, caller = generation.request, generation.caller
    if not request.models and len(at.catalog.endpoints.get(at.catalog.id_of(request.model) or "", ())) < 2:
        found = None  # with nothing to choose there is nothing to stick to
    else:
        found = await _sticky(generation, at)
    planned = plan(
        request,
        at.catalog,
        keys=at.provider_keys.keys(),
        rules=caller.rules,
        stats=at.health.stats,
        draw=draw_of(generation.id),
        sticky=found,
        own_keys=caller.own_keys,
        today=day(generation.created_ms),
    )
    generation.plan = at.tariffs.of(caller).charged(planned)
    return generation.plan


async def _sticky(generation: Generation, at: Services) -> str | None:
    request = generation.request
    generation.conversation = sticky.conversation(
        generation.caller.account_id, request, request.session_id or generation.session_id, secret=at.settings.secret_key
    )
    if generation.conversation is None:
        return None
    generation.sticky = await at.sticky.find(generation.conversation.key)
    return generation.sticky


async def remember(generation: Generation, end: End, at: Services) -> None:
    """After the answer has left: keeps the conversation's route where that can save money, and drops one that failed."""
    conversation, endpoint = generation.conversation, end.endpoint
    if conversation is None or endpoint is None:
        return
    if end.outcome is Outcome.FAILED or (generation.sticky is not None and generation.sticky != endpoint.id):
        await at.sticky.drop(conversation.key)
        generation.sticky = None
    if end.outcome is Outcome.COMPLETED and end.meter is not None:
        cached = end.meter.cached_prompt
        if sticky.worth_keeping(conversation, endpoint.price, cached_tokens=cached, found=generation.sticky == endpoint.id):
            await at.sticky.keep(conversation.key, endpoint.id)
