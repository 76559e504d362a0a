"""The three kinds of output item of a Responses answer: each tells its events while it grows, and can be shown as it stands."""

from typing import Any, Final, Protocol

from gateway.api.responses_reasoning import Details, sealed
from gateway.streaming import encode

NOWHERE: Final = b""
"""Where events happen that are about the whole answer."""


class Events:
    """Server-sent events that have not left yet, numbered from 0."""

    def __init__(self) -> None:
        self._number = 0
        self._waiting: list[bytes] = []

    def tell(self, kind: bytes, at: bytes, fields: dict[str, Any]) -> None:
        """`at`: the event's first fields, as JSON with a comma behind each; `fields`: all that come after them."""
        told = kind, kind, self._number, at, encode(fields)[1:]
        self._waiting.append(b'event: %b\ndata: {"type":"%b","sequence_number":%d,%b%b\n\n' % told)
        self._number += 1

    def leaving(self) -> bytes:
        data, self._waiting = b"".join(self._waiting), []
        return data


class Unheard(Events):
    """Of an answer that is not streamed."""

    def tell(self, kind: bytes, at: bytes, fields: dict[str, Any]) -> None:
        pass


class Item(Protocol):
    """`status` is None while the item grows."""

    status: str | None

    def close(self, status: str) -> None: ...
    def object(self, status: str) -> dict[str, Any]: ...


class Place:
    """Where an item stands in the answer, in the words of its events."""

    def __init__(self, events: Events, id: str, number: int) -> None:
        self.id = id
        self._index = b'"output_index":%d,' % number
        self.at = b'"item_id":"%b",%b' % (id.encode(), self._index)
        self.tell = events.tell

    def tell_item(self, kind: bytes, item: dict[str, Any]) -> None:
        self.tell(kind, self._index, {"item": item})


class Message:
    """Text, and after it or in its place a refusal: each a part of the content."""

    def __init__(self, place: Place) -> None:
        self.status: str | None = None
        self._place = place
        self._parts: list[dict[str, Any]] = []
        self._kind = ""
        self._pieces: list[str] = []
        self._logprobs: list[dict[str, Any]] = []
        self._at = b""
        place.tell_item(b"response.output_item.added", self.object("in_progress"))

    def add(self, kind: str, text: str, logprobs: object) -> None:
        """`kind` is output_text or refusal; `logprobs` is the choice's."""
        if kind != self._kind:
            self._close_part()
            self._kind = kind
            self._at = self._place.at + b'"content_index":%d,' % len(self._parts)
            self._place.tell(b"response.content_part.added", self._at, {"part": self._part()})
        self._pieces.append(text)
        if kind == "refusal":
            self._place.tell(b"response.refusal.delta", self._at, {"delta": text})
            return
        entries = _entries(logprobs)
        self._logprobs += entries
        self._place.tell(b"response.output_text.delta", self._at, {"delta": text, "logprobs": entries})

    def close(self, status: str) -> None:
        self._close_part()
        self.status = status
        self._place.tell_item(b"response.output_item.done", self.object(status))

    def object(self, status: str) -> dict[str, Any]:
        content = [*self._parts, self._part()] if self._kind else self._parts
        return {"id": self._place.id, "type": "message", "status": status, "role": "assistant", "content": content}

    def _part(self) -> dict[str, Any]:
        text = "".join(self._pieces)
        if self._kind == "refusal":
            return {"type": "refusal", "refusal": text}
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": self._logprobs}

    def _close_part(self) -> None:
        if not self._kind:
            return
        part, at = self._part(), self._at
        if self._kind == "refusal":
            self._place.tell(b"response.refusal.done", at, {"refusal": part["refusal"]})
        else:
            self._place.tell(b"response.output_text.done", at, {"text": part["text"], "logprobs": part["logprobs"]})
        self._place.tell(b"response.content_part.done", at, {"part": part})
        self._parts.append(part)
        self._kind, self._pieces, self._logprobs = "", [], []


class Reasoning:
    """What can be read of it is one summary, because every client shows summaries; `encrypted`: all of it, to be sent back."""

    def __init__(self, place: Place, *, encrypted: bool) -> None:
        self.status: str | None = None
        self._place = place
        self._at = place.at + b'"summary_index":0,'
        self._encrypted = encrypted
        self._pieces: list[str] = []
        self._name = "reasoning"
        self._details = Details()
        place.tell_item(b"response.output_item.added", self.object("in_progress"))

    def add(self, text: str, name: str | None, details: list[Any], *, whole: bool) -> None:
        """`name` is the field in which the provider sent the text, None if it stood in the details alone."""
        if self._encrypted:
            self._details.add(details, whole=whole)
        self._name = name or self._name
        if not text:
            return
        if not self._pieces:
            self._place.tell(b"response.reasoning_summary_part.added", self._at, {"part": {"type": "summary_text", "text": ""}})
        self._pieces.append(text)
        self._place.tell(b"response.reasoning_summary_text.delta", self._at, {"delta": text})

    def close(self, status: str) -> None:
        self.status = status
        shown = self.object(status)
        for part in shown["summary"]:
            self._place.tell(b"response.reasoning_summary_text.done", self._at, {"text": part["text"]})
            self._place.tell(b"response.reasoning_summary_part.done", self._at, {"part": part})
        self._place.tell_item(b"response.output_item.done", shown)

    def object(self, status: str) -> dict[str, Any]:
        text = "".join(self._pieces)
        shown: dict[str, Any] = {"id": self._place.id, "type": "reasoning", "status": status, "summary": []}
        if text:
            shown["summary"] = [{"type": "summary_text", "text": text}]
        if self._encrypted:
            details = self._details.joined()
            said = {"reasoning_details": details} if details else {self._name: text}
            shown["encrypted_content"] = None if status == "in_progress" else sealed(said)
        return shown


class Call:
    """A call of a function. `given_id` is the provider's, which tells its calls apart; without one the item's own id serves."""

    def __init__(self, place: Place, *, id: object, name: str) -> None:
        self.status: str | None = None
        self.given_id = id
        self._place = place
        self._call_id = id if isinstance(id, str) and id else place.id.replace("fc_", "call_")
        self._name = name
        self._pieces: list[str] = []
        place.tell_item(b"response.output_item.added", self.object("in_progress"))

    def add(self, arguments: str) -> None:
        if arguments:
            self._pieces.append(arguments)
            self._place.tell(b"response.function_call_arguments.delta", self._place.at, {"delta": arguments})

    def close(self, status: str) -> None:
        """A call without arguments has an empty object of them, which clients can parse."""
        if not self._pieces and status == "completed":
            self.add("{}")
        self.status = status
        shown = self.object(status)
        done = {"name": self._name, "arguments": shown["arguments"]}
        self._place.tell(b"response.function_call_arguments.done", self._place.at, done)
        self._place.tell_item(b"response.output_item.done", shown)

    def object(self, status: str) -> dict[str, Any]:
        named = {"call_id": self._call_id, "name": self._name, "arguments": "".join(self._pieces)}
        return {"id": self._place.id, "type": "function_call", "status": status, **named}


def _entries(logprobs: object) -> list[dict[str, Any]]:
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    return [_entry(each) for each in content if isinstance(each, dict)] if isinstance(content, list) else []


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    """With all that OpenAI's SDKs want to find in it."""
    top = entry.get("top_logprobs")
    others = [{**each, "bytes": each.get("bytes") or []} for each in top if isinstance(each, dict)] if isinstance(top, list) else []
    return {**entry, "bytes": entry.get("bytes") or [], "top_logprobs": others}
