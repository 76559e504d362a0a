"""The input items of a Responses request -> the messages of the canonical chat request, and where each of them came from.

Neighbouring reasoning, messages of the assistant and function calls are one turn of the assistant, so they become one message.
"""

import re
from collections.abc import Callable
from typing import Any, Final

from gateway.api.chat_body import VALUES_MAX
from gateway.api.responses_fields import (
    Content,
    FunctionCall,
    FunctionCallOutput,
    InputAudio,
    InputFile,
    InputImage,
    InputMessage,
    Item,
    ItemReference,
    Part,
    Reasoning,
    Refusal,
)
from gateway.api.responses_reasoning import TEXTS, Details, fields_of
from gateway.errors import BadRequest

_PLACE: Final = re.compile(r"messages\[(\d+)\](?:\.(content|tool_calls)(?:\[(\d+)\])?)?")


class Messages:
    """`messages` of the chat request; `dropped` when reasoning had to be left out because nothing of the assistant's follows it."""

    def __init__(self, given: str | list[Item], instructions: str | None) -> None:
        self.messages: list[dict[str, Any]] = []
        self.dropped = False
        self._places: list[dict[str, list[str]]] = []
        self._turn: dict[str, Any] | None = None
        self._turn_places: dict[str, list[str]] = {}
        self._called: set[str] = set()
        self._values_left = VALUES_MAX
        if instructions:
            self._add({"role": "system", "content": instructions}, ["instructions"])
        if isinstance(given, str):
            self._add({"role": "user", "content": given}, ["input"])
            return
        for number, item in enumerate(given):
            _READERS[type(item)](self, item, f"input[{number}]")
        self._end_turn()
        if not self.messages:
            raise BadRequest("input: holds nothing to answer; add a message.", param="input")

    def renamed(self, text: str) -> str:
        """A text in which a place in the chat's messages is told by the item that the client sent there."""
        return _PLACE.sub(self._origin, text)

    def _origin(self, found: re.Match[str]) -> str:
        number, field, position = found.groups()
        places = self._places[int(number)] if int(number) < len(self._places) else {}
        known = places.get(field or "content") or [place for each in places.values() for place in each]
        return known[min(int(position or 0), len(known) - 1)] if known else "input"

    def _add(self, message: dict[str, Any], places: list[str]) -> None:
        self.messages.append(message)
        self._places.append({"content": places})

    def _message(self, item: InputMessage, at: str) -> None:
        if item.role == "assistant":
            parts, places = _parts(item.content, f"{at}.content")
            self._open_turn()["content"] += parts
            self._turn_places["content"] += places
            return
        content, places = _content(item.content, f"{at}.content")
        self._end_turn()
        self._add({"role": item.role, "content": content}, places)

    def _reasoning(self, item: Reasoning, at: str) -> None:
        fields, values = fields_of(item, at, values_max=self._values_left)
        self._values_left -= values
        turn = self._open_turn()
        turn["reasoning_details"].add(fields.get("reasoning_details", []), whole=True)
        for name in TEXTS:
            turn[name] += fields.get(name, "")
        self._turn_places["reasoning"].append(at)

    def _call(self, item: FunctionCall, at: str) -> None:
        function = {"name": item.name, "arguments": item.arguments}
        self._open_turn()["tool_calls"].append({"id": item.call_id, "type": "function", "function": function})
        self._turn_places["tool_calls"].append(at)
        self._called.add(item.call_id)

    def _output(self, item: FunctionCallOutput, at: str) -> None:
        if item.call_id not in self._called:
            text = "no function_call before this has this call_id; nothing is stored here, so send the whole input, the calls included."
            raise BadRequest(f"{at}.call_id: {text}", param=f"{at}.call_id")
        content, places = _content(item.output, f"{at}.output")
        self._end_turn()
        self._add({"role": "tool", "tool_call_id": item.call_id, "content": content}, places)

    def _reference(self, item: ItemReference, at: str) -> None:
        text = "nothing is stored here, so there is no item to refer to; send the item itself (clients do so with store: false)."
        raise BadRequest(f"{at}: {text}", param=at)

    def _open_turn(self) -> dict[str, Any]:
        if self._turn is None:
            empty = dict.fromkeys(TEXTS, "")
            self._turn = {"role": "assistant", "content": [], "tool_calls": [], "reasoning_details": Details(), **empty}
            self._turn_places = {"content": [], "tool_calls": [], "reasoning": []}
        return self._turn

    def _end_turn(self) -> None:
        """Reasoning alone says nothing to a model, and no provider takes a message of nothing else."""
        turn, self._turn = self._turn, None
        if turn is None:
            return
        turn["reasoning_details"] = turn["reasoning_details"].joined()
        message = {name: value for name, value in turn.items() if value}
        if not (turn["content"] or turn["tool_calls"]):
            self.dropped = True
            return
        message["content"] = _plain(turn["content"]) if turn["content"] else None
        self.messages.append(message)
        self._places.append(self._turn_places)


_READERS: Final[dict[type[Any], Callable[[Messages, Any, str], None]]] = {
    InputMessage: Messages._message,
    Reasoning: Messages._reasoning,
    FunctionCall: Messages._call,
    FunctionCallOutput: Messages._output,
    ItemReference: Messages._reference,
}


def _content(content: Content, at: str) -> tuple[str | list[dict[str, Any]], list[str]]:
    """The content of a chat message, and the place of each of its parts."""
    if isinstance(content, str):
        return content, [at]
    parts, places = _parts(content, at)
    return _plain(parts), places


def _parts(content: Content, at: str) -> tuple[list[dict[str, Any]], list[str]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}], [at]
    places = [f"{at}[{number}]" for number in range(len(content))]
    return [_part(part, place) for part, place in zip(content, places, strict=True)], places


def _part(part: Any, at: str) -> dict[str, Any]:
    write = _WRITERS.get(type(part))
    chat = write(part, at) if write is not None else {"type": "text", "text": part.text}
    if part.cache_control is not None:
        chat["cache_control"] = part.cache_control
    return chat


def _refusal(part: Refusal, at: str) -> dict[str, Any]:
    return {"type": "refusal", "refusal": part.refusal}


def _audio(part: InputAudio, at: str) -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": part.input_audio}


def _image(part: InputImage, at: str) -> dict[str, Any]:
    if not part.image_url:
        text = "is needed: a URL or a data URL; images are not stored here, so a file_id cannot stand for one."
        raise BadRequest(f"{at}.image_url: {text}", param=f"{at}.image_url")
    detail = {"detail": part.detail} if part.detail else {}
    return {"type": "image_url", "image_url": {"url": part.image_url, **detail}}


def _file(part: InputFile, at: str) -> dict[str, Any]:
    fields = {"file_data": part.file_data or part.file_url, "file_id": part.file_id, "filename": part.filename}
    file = {name: value for name, value in fields.items() if value}
    if not file.keys() - {"filename"}:
        raise BadRequest(f"{at}.file_data: is needed, or a file_url.", param=f"{at}.file_data")
    return {"type": "file", "file": file}


_WRITERS: Final[dict[type[Part], Callable[[Any, str], dict[str, Any]]]] = {
    Refusal: _refusal,
    InputAudio: _audio,
    InputImage: _image,
    InputFile: _file,
}


def _plain(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """One text alone is a string, which every provider takes in every role."""
    alone = len(parts) == 1 and parts[0].keys() == {"type", "text"}
    return str(parts[0]["text"]) if alone else parts
