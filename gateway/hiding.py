"""Leaves a model's reasoning out of the answer to a request that says `reasoning: {"exclude": true}`, on every client API and dialect.

The pipeline knows nothing of it: a `Hiding` reply stands before the client's own, behind the count of what is charged.
"""

from typing import Final

from gateway.generation import Generation
from gateway.passing import Passing
from providers.provider import Event

_REASONING: Final = ("reasoning", "reasoning_content", "reasoning_details")


def hide_reasoning(generation: Generation) -> None:
    """Puts a `Hiding` before the generation's reply if its client wants no reasoning."""
    wanted = generation.request.body.reveal().get("reasoning")
    if isinstance(wanted, dict) and wanted.get("exclude"):
        generation.reply = Hiding(generation.reply)


class Hiding(Passing):
    """A Reply that passes on what is left of events without reasoning."""

    async def events(self, events: list[Event]) -> None:
        if left := [event for event in events if not _only_reasoned(event)]:
            await super().events(left)


def _only_reasoned(event: Event) -> bool:
    """Takes the reasoning out; whether there was some, and nothing is left that a client must see."""
    taken, left = False, False
    for choice in event["choices"]:
        part = choice.get("delta") or choice.get("message")
        if isinstance(part, dict):
            taken |= any(part.pop(name, None) for name in _REASONING)
            left |= any(part.values())
        left |= bool(choice.get("finish_reason"))
    return taken and not left
