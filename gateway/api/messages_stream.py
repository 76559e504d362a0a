"""Canonical pieces of an answer -> the blocks of a streamed message, as events that are ready to be sent.

One block is open at a time. Tool calls whose pieces interleave wait for their turn, which comes when the arguments before them are
whole; so every block is whole when it ends, and a client may run a tool before the answer has ended.
"""

from typing import Any, Final

import msgspec

from gateway.api.messages_thinking import CLAUDE, DATA, Detail, data_of, details_of, signature_of, text_of
from gateway.streaming import encode

_DELTA: Final = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":%b}}\n\n'
_START: Final = b'event: content_block_start\ndata: {"type":"content_block_start","index":%d,"content_block":%b}\n\n'
_STOP: Final = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'


class Call:
    """One tool call. `waiting` has not been sent; `block` is its number once it has been begun."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.name = ""
        self.arguments: list[str] = []
        self.waiting = ""
        self.block: int | None = None

    @property
    def whole(self) -> bool:
        return bool(self.arguments) and self.arguments[-1].rstrip()[-1:] == "}" and parsed("".join(self.arguments)) is not None


class Blocks:
    """`take` gives the events of one piece, `close` those that end the last block. `called` and `refused` say what the answer was."""

    def __init__(self, generation_id: str) -> None:
        self._suffix = generation_id.rpartition("-")[2]
        self._out: list[bytes] = []
        self._count = 0
        self._open: object = None
        self._thought: Detail = {}
        self._calls: dict[object, Call] = {}
        self._queue: list[Call] = []
        self.refused = False

    @property
    def called(self) -> bool:
        return bool(self._calls)

    def take(self, part: dict[str, Any]) -> list[bytes]:
        """Of a provider: what is not as it should be is left out."""
        for detail in details_of(part):
            self._think(detail)
        text = words(part.get("content"))
        if refusal := words(part.get("refusal")):
            self.refused = True
            text += refusal
        if text:
            if self._open != "text":
                self._begin("text", {"type": "text", "text": ""})
            self._delta(b"text_delta", b"text", text)
        calls = part.get("tool_calls")
        for place, piece in enumerate(calls if isinstance(calls, list) else ()):
            if isinstance(piece, dict) and isinstance(piece.get("function"), dict):
                self._call(piece, place)
        return self._taken()

    def close(self) -> list[bytes]:
        self._flush()
        self._end()
        return self._taken()

    def _taken(self) -> list[bytes]:
        out, self._out = self._out, []
        return out

    def _think(self, detail: Detail) -> None:
        """There is one signature for all pieces of a thought, so it comes when the block ends."""
        kind, text = detail.get("type"), text_of(detail)
        if kind == DATA:
            self._begin(DATA, {"type": "redacted_thinking", "data": data_of(detail)})
            self._end()
            return
        if not text and not detail.get("signature"):
            return
        key = ("thinking", kind, detail.get("index"))
        if self._open != key:
            self._begin(key, {"type": "thinking", "thinking": "", "signature": ""})
        if text:
            self._delta(b"thinking_delta", b"thinking", text)
        self._thought |= {name: value for name, value in detail.items() if value is not None}

    def _call(self, piece: dict[str, Any], place: int) -> None:
        """Pieces belong together by their index; some servers number every call 0, and tell them apart by their ids."""
        function, id = piece["function"], piece.get("id")
        index = piece.get("index", place)
        call = self._calls.get(str(index))
        if call is None or (isinstance(id, str) and id and call.arguments and id != call.id):
            call = self._new(str(index), id)
        if isinstance(name := function.get("name"), str) and not call.name:
            call.name = name
        if text := arguments_of(function):
            call.arguments.append(text)
            call.waiting += text
        self._advance(call)

    def _new(self, index: str, id: object) -> Call:
        if index in self._calls:
            self._calls[f"{index}.{len(self._calls)}"] = self._calls[index]
        call = Call(id if isinstance(id, str) and id else f"toolu_{self._suffix}_{len(self._calls)}")
        self._calls[index] = call
        self._queue.append(call)
        return call

    def _advance(self, call: Call) -> None:
        """Sends what `call` has, if its turn has come, and begins those after it whose turn comes by that."""
        if call.block is not None:
            self._send(call)
        while self._queue and self._queue[0].name and (not isinstance(self._open, Call) or self._open.whole):
            self._start(self._queue.pop(0))

    def _start(self, call: Call) -> None:
        queue, self._queue = self._queue, []  # they wait on, whatever block ends now
        self._begin(call, {"type": "tool_use", "id": call.id, "name": call.name, "input": {}})
        self._queue, call.block = queue, self._count - 1
        self._send(call)

    def _send(self, call: Call) -> None:
        if call.waiting and (call is self._open or not call.waiting.isspace()):
            self._out.append(_DELTA % (call.block, b"input_json_delta", b"partial_json", encode(call.waiting)))
            call.waiting = ""

    def _flush(self) -> None:
        """What follows is no tool call, so those that wait have all they will get."""
        for call in self._queue[:]:
            self._start(call)
        self._queue = []

    def _begin(self, key: object, block: dict[str, Any]) -> None:
        self._flush()
        self._end()
        self._out.append(_START % (self._count, encode(block)))
        self._open, self._count = key, self._count + 1

    def _delta(self, kind: bytes, field: bytes, text: str) -> None:
        self._out.append(_DELTA % (self._count - 1, kind, field, encode(text)))

    def _end(self) -> None:
        if self._open is None:
            return
        if self._thought and (signature := signature_of(self._thought)):
            self._delta(b"signature_delta", b"signature", signature)
        self._thought, self._open = {}, None
        self._out.append(_STOP % (self._count - 1))


def content_of(message: dict[str, Any], generation_id: str) -> list[dict[str, Any]]:
    """The blocks of a whole message: what a client puts together from the stream of it. Arguments that are no object stay readable.

    What others than Claude encrypt stands behind the text, where it also stands in a stream: many clients read the first block alone.
    """
    content: list[dict[str, Any]] = []
    hidden: list[dict[str, Any]] = []
    for detail in details_of(message):
        if detail.get("type") == DATA:
            (content if detail.get("format") == CLAUDE else hidden).append({"type": "redacted_thinking", "data": data_of(detail)})
        elif (text := text_of(detail)) or detail.get("signature"):
            content.append({"type": "thinking", "thinking": text, "signature": signature_of(detail)})
    if text := words(message.get("content")) + words(message.get("refusal")):
        content.append({"type": "text", "text": text})
    content += hidden
    calls = message.get("tool_calls")
    for number, call in enumerate(calls if isinstance(calls, list) else ()):
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            id = call.get("id") or f"toolu_{generation_id.rpartition('-')[2]}_{number}"
            arguments = arguments_of(function)
            input = parsed(arguments) if arguments else {}
            input = {"INVALID_JSON": arguments} if input is None else input
            content.append({"type": "tool_use", "id": str(id), "name": str(function.get("name") or ""), "input": input})
    return content


def words(content: object) -> str:
    """Some servers answer in parts."""
    if isinstance(content, list):
        return "".join(words(part.get("text")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def arguments_of(function: dict[str, Any]) -> str:
    """Some servers give the object instead of its text."""
    arguments = function.get("arguments")
    return encode(arguments).decode() if isinstance(arguments, dict) else arguments if isinstance(arguments, str) else ""


def parsed(arguments: str) -> dict[str, Any] | None:
    """The object in the text; None if there is none."""
    try:
        value = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
