"""A request of Anthropic's Messages API -> the canonical chat request; what is wrong is named by Anthropic's field.

A field that neither Anthropic nor OpenRouter knows goes on to the provider, as in a chat.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from gateway.api import chat_body
from gateway.api.messages_blocks import Origin, assistant_message, renamed, user_messages
from gateway.api.messages_fields import TRANSLATED, UNKEPT, MessagesBody, Turn, settings
from gateway.api.messages_parts import Block, parts_of, plain, refused
from gateway.errors import BadRequest, problem
from policy.presets import Preset
from providers.content import Content
from providers.provider import ChatRequest


class Read(msgspec.Struct):
    """`stops` are the client's stop sequences; `origins` say where each canonical message came from."""

    request: ChatRequest
    stops: tuple[str, ...]
    origins: list[Origin]


def parse(raw: bytes, presets: Mapping[str, Preset], *, counting: bool = False) -> Read:
    """BadRequest names the field. `counting`: only the prompt matters, so `max_tokens` may be absent."""
    body = chat_body.decode(raw)
    fields = chat_body.checked(body, MessagesBody)
    if fields.max_tokens is None and not counting:
        raise refused("max_tokens", "is required: the most tokens that the answer may have.")
    adjusted = [name for name in UNKEPT if body.get(name) not in (None, "standard")]
    messages, origins = _messages(fields)
    chat = {name: value for name, value in body.items() if name not in TRANSLATED and name not in UNKEPT and value is not None}
    chat |= {"messages": messages, **settings(fields, adjusted.append)}
    try:
        request = chat_body.canonical(chat, raw, presets, adjusted=tuple(adjusted))
    except BadRequest as error:
        found = renamed(problem(error), origins)
        raise BadRequest(found.message, param=found.param, status=error.status, error_type=error.error_type) from None
    if request.n != 1:
        raise refused("preset", "asks for several answers (n), and a message is one; use another preset here.")
    # Under which name an OpenAI model takes its limit is its provider's to say, so the limit stands in the request alone.
    sent = {name: value for name, value in request.body.reveal().items() if name != "max_tokens"}
    return Read(msgspec.structs.replace(request, body=Content(sent)), tuple(fields.stop_sequences or ()), origins)


def _messages(fields: MessagesBody) -> tuple[list[dict[str, Any]], list[Origin]]:
    """The system prompt first. `cache_control` of the whole request is that of its last part."""
    pairs = [*_system(fields.system, "system"), *_turns(fields.messages)]
    if fields.cache_control is not None:
        last = pairs[-1][0]
        if isinstance(last["content"], str):
            last["content"] = [{"type": "text", "text": last["content"]}]
        if last["content"]:
            last["content"][-1].setdefault("cache_control", fields.cache_control)
    return [message for message, _ in pairs], [origin for _, origin in pairs]


def _turns(turns: list[Turn]) -> Iterator[tuple[dict[str, Any], Origin]]:
    called: set[str] = set()
    for number, turn in enumerate(turns):
        place = f"messages[{number}]"
        blocks = [Block("text", turn.content)] if isinstance(turn.content, str) else turn.content
        if turn.role == "assistant":
            yield assistant_message(blocks, place, called)
        elif turn.role == "user":
            yield from user_messages(blocks, place, called)
        else:
            yield from _system(turn.content, f"{place}.content")


def _system(content: str | list[Block] | None, place: str) -> Iterator[tuple[dict[str, Any], Origin]]:
    blocks = [Block("text", content)] if isinstance(content, str) else content or ()
    parts, origin = [], Origin(place)
    for number, block in enumerate(blocks):
        if block.type != "text":
            raise refused(f"{place}[{number}]", "only blocks of type text can stand here.")
        for part in parts_of(block, f"{place}[{number}]"):
            parts.append(part)
            origin.parts.append(number)
    if parts:
        yield {"role": "system", "content": plain(parts)}, origin
