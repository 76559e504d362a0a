"""The turns of a Messages request -> canonical messages: results, thoughts and tool calls in the places where a chat has them.

Every part remembers the block that it came from, so that whoever finds something wrong with it later can name Anthropic's place.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from gateway.api.messages_parts import Block, Part, needed, nested, parts_of, plain, refused
from gateway.api.messages_thinking import take_data, take_thought
from gateway.errors import Problem

ERROR: Final = "Error: "
"""Stands before the result of a tool that failed: of the providers only Anthropic's has a field for that."""
_PLACE: Final = re.compile(r"messages\[(\d+)\](?:\.(content|tool_calls)\[(\d+)\])?")


class Origin(msgspec.Struct):
    """Where a canonical message came from: "system" or "messages[3]", and the block of each of its parts and tool calls."""

    place: str
    parts: list[int] = []
    calls: list[int] = []


def renamed(problem: Problem, origins: list[Origin]) -> Problem:
    """The same problem in the client's own words: the canonical chat has other places than the request that it was made of."""
    if problem.param is None or (own := original(problem.param, origins)) == problem.param:
        return problem
    return msgspec.structs.replace(problem, param=own, message=problem.message.replace(problem.param, own, 1))


def original(place: str, origins: list[Origin]) -> str:
    """`messages[4].content[0]` of the canonical chat -> `messages[2].content[1]` of the request; anything else as it is."""
    found = _PLACE.match(place)
    if found is None or int(found[1]) >= len(origins):
        return place
    origin, kind, number = origins[int(found[1])], found[2], int(found[3] or 0)
    blocks = origin.calls if kind == "tool_calls" else origin.parts
    if kind is None or number >= len(blocks):
        return origin.place
    return f"{origin.place}[{blocks[number]}]" if origin.place == "system" else f"{origin.place}.content[{blocks[number]}]"


def user_messages(blocks: list[Block], place: str, called: set[str]) -> Iterator[tuple[dict[str, Any], Origin]]:
    """First the results, which must follow the calls at once; then what the user says. `called` are the calls that wait for a result."""
    origin, parts, results = Origin(place, []), [], False
    for number, block in enumerate(blocks):
        at = f"{place}.content[{number}]"
        if block.type == "tool_result":
            results = True
            message = _result(block, at, called)
            yield message, Origin(place, [number] * (len(message["content"]) if isinstance(message["content"], list) else 1))
            continue
        for part in parts_of(block, at):
            parts.append(part)
            origin.parts.append(number)
    if parts:
        yield {"role": "user", "content": plain(parts)}, origin
    elif not results:
        raise refused(f"{place}.content", "must not be empty.")


def assistant_message(blocks: list[Block], place: str, called: set[str]) -> tuple[dict[str, Any], Origin]:
    """Its texts, its thoughts and its tool calls, which are added to `called`."""
    message: dict[str, Any] = {"role": "assistant", "content": None}
    origin, parts, calls = Origin(place), [], []
    for number, block in enumerate(blocks):
        at = f"{place}.content[{number}]"
        if block.type == "text":
            for part in parts_of(block, at):
                parts.append(part)
                origin.parts.append(number)
        elif block.type == "tool_use":
            calls.append(_call(block, at))
            called.add(calls[-1]["id"])
            origin.calls.append(number)
        elif block.type == "thinking":
            take_thought(message, needed(block, "thinking", at), block.signature or "", at)
        elif block.type == "redacted_thinking":
            take_data(message, needed(block, "data", at), at)
        else:
            raise refused(at, "an assistant message takes blocks of type text, thinking, redacted_thinking and tool_use.")
    if parts or not calls:
        message["content"] = plain(parts)
    if calls:
        message["tool_calls"] = calls
    return message, origin


def _call(block: Block, place: str) -> dict[str, Any]:
    if block.input is None:
        raise refused(f"{place}.input", "is required: the object of the tool's arguments.")
    function = {"name": needed(block, "name", place), "arguments": msgspec.json.encode(block.input).decode()}
    return {"id": needed(block, "id", place), "type": "function", "function": function}


def _result(block: Block, place: str, called: set[str]) -> dict[str, Any]:
    """The tool message. A result of nothing is an empty text; the mark of a cache is the message's, or its last part's."""
    id = needed(block, "tool_use_id", place)
    if id not in called:
        raise refused(f"{place}.tool_use_id", "answers no tool_use of an earlier assistant message, or one that has its result already.")
    called.discard(id)
    parts = nested(block.content, f"{place}.content", 0)
    if block.is_error:
        _mark_failed(parts)
    message: dict[str, Any] = {"role": "tool", "tool_call_id": id, "content": plain(parts)}
    if block.cache_control is not None:
        (message if isinstance(message["content"], str) else parts[-1])["cache_control"] = block.cache_control
    return message


def _mark_failed(parts: list[Part]) -> None:
    if not parts or parts[0]["type"] != "text":
        parts.insert(0, {"type": "text", "text": ERROR})
    elif not parts[0]["text"].lstrip().lower().startswith("error"):
        parts[0]["text"] = ERROR + parts[0]["text"]
