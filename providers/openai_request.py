"""What the `openai` dialect takes out of a canonical request, or moves: what servers of this API refuse, as OpenAI's own does.

Everything else goes on as the client wrote it, fields that nobody here knows included.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

from providers import anthropic_messages, gemini_contents
from providers.provider import Call

FOREIGN: Final = frozenset({anthropic_messages.FORMAT, gemini_contents.FORMAT})
"""Formats of thoughts that only their own dialects can read."""
SHOWN: Final = "(The {kinds} that the tool returned: see the next message.)"

Message = dict[str, Any]


def fitted(body: dict[str, Any], call: Call) -> dict[str, Any]:
    """A new body. `call.adjust` hears of what the client will miss."""
    body = dict(body)
    reasoning = body.pop("reasoning", None)  # OpenRouter's; its effort stands in `reasoning_effort`, where OpenAI has it
    if isinstance(reasoning, dict) and any(reasoning.get(name) is not None for name in ("enabled", "max_tokens")):
        call.adjust("reasoning")
    messages = body.get("messages")
    if isinstance(messages, list):
        body["messages"] = _with_images_shown(_without_foreign_thoughts(messages), call.adjust)
    if "cache_write" in call.request.extras and call.endpoint.price.cache_write is None:
        # Who bills writes to a cache has a price for them, and knows this field; the others refuse it.
        call.adjust("cache_control")
        for name in ("messages", "tools"):
            if isinstance(body.get(name), list):
                body[name] = [_without_cache(each) for each in body[name]]
    return body


def _without_foreign_thoughts(messages: list[Message]) -> list[Message]:
    return [_own_thoughts(message) if message.get("reasoning_details") else message for message in messages]


def _own_thoughts(message: Message) -> Message:
    details = message["reasoning_details"] if isinstance(message["reasoning_details"], list) else []
    kept = [each for each in details if not (isinstance(each, dict) and str(each.get("format")) in FOREIGN)]
    rest = {name: value for name, value in message.items() if name != "reasoning_details"}
    return {**rest, "reasoning_details": kept} if kept else rest


def _with_images_shown(messages: list[Message], adjust: Callable[[str], None]) -> list[Message]:
    """A tool can only say texts there, so its images follow as a user's, behind the last of the results that belong together."""
    if not any(message.get("role") == "tool" and any(_media(message)) for message in messages):
        return messages
    adjust("messages")
    sent: list[Message] = []
    shown: list[dict[str, Any]] = []
    for message in messages:
        if shown and message.get("role") != "tool":
            sent.append({"role": "user", "content": shown})
            shown = []
        if message.get("role") == "tool" and (media := list(_media(message))):
            shown += media
            message = {**message, "content": _texts(message, media)}
        sent.append(message)
    return [*sent, {"role": "user", "content": shown}] if shown else sent


def _media(message: Message) -> Iterator[dict[str, Any]]:
    content = message.get("content")
    for part in content if isinstance(content, list) else ():
        if isinstance(part, dict) and part.get("type") != "text":
            yield part


def _texts(message: Message, media: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kinds = "images" if all(part.get("type") == "image_url" for part in media) else "files"
    return [*(part for part in message["content"] if part not in media), {"type": "text", "text": SHOWN.format(kinds=kinds)}]


def _without_cache(holder: dict[str, Any]) -> dict[str, Any]:
    """Of a message, its parts, or a tool and its function."""
    kept = {name: value for name, value in holder.items() if name != "cache_control"}
    if isinstance(kept.get("content"), list):
        kept["content"] = [_without_cache(part) for part in kept["content"]]
    if isinstance(kept.get("function"), dict):
        kept["function"] = _without_cache(kept["function"])
    return kept
