"""The output of one Responses answer: sorts what the provider says into items, in the order in which it says them.

The same for an answer that is streamed and for one that is not, which is told in one piece and whose events nobody hears. What is kept
is the answer itself, as long as what has been paid for.
"""

from typing import Any

from gateway.api.responses_items import Call, Events, Item, Message, Place, Reasoning, Unheard
from gateway.api.responses_reasoning import TEXTS, text_of
from gateway.streaming import encode
from providers.provider import Event


class Output:
    """`take` what a choice says, `close` what is open. Text and reasoning end where another item begins; calls, whose pieces may
    interleave, end together."""

    def __init__(self, generation_id: str, *, encrypted: bool, streamed: bool) -> None:
        self.events = Events() if streamed else Unheard()
        self._suffix = generation_id.rpartition("-")[2]
        self._encrypted = encrypted
        self._items: list[Item] = []
        self._open: Message | Reasoning | None = None
        self._calls: dict[object, Call] = {}

    def take(self, choice: Event) -> None:
        """Of a provider: what is not as it should be is left out."""
        part = choice.get("delta") or choice.get("message")
        if not isinstance(part, dict):
            return
        self._reason(part, whole="message" in choice)
        if content := part.get("content"):
            self._say("output_text", _text(content), choice.get("logprobs"))
        if refusal := part.get("refusal"):
            self._say("refusal", _text(refusal), None)
        calls = part.get("tool_calls")
        for place, piece in enumerate(calls if isinstance(calls, list) else ()):
            if isinstance(piece, dict) and isinstance(piece.get("function"), dict):
                self._call(piece, place)

    def close(self, status: str) -> None:
        for item in self._items:
            if item.status is None:
                item.close(status)
        self._open, self._calls = None, {}

    def objects(self) -> list[dict[str, Any]]:
        """All items; one that is still open has remained incomplete."""
        return [item.object(item.status or "incomplete") for item in self._items]

    def _reason(self, part: dict[str, Any], *, whole: bool) -> None:
        name = next(filter(part.get, TEXTS), None)
        details = part.get("reasoning_details")
        if name is None and not details:
            return
        details = details if isinstance(details, list) else []
        text = _text(part[name]) if name else text_of(details)
        if not text and not (details and self._encrypted):
            return
        if not isinstance(self._open, Reasoning):
            self._close_open()
            self._open = Reasoning(self._place("rs"), encrypted=self._encrypted)
            self._items.append(self._open)
        self._open.add(text, name, details, whole=whole)

    def _say(self, kind: str, text: str, logprobs: object) -> None:
        if not text:
            return
        if not isinstance(self._open, Message):
            self._close_open()
            self._open = Message(self._place("msg"))
            self._items.append(self._open)
        self._open.add(kind, text, logprobs)

    def _call(self, piece: dict[str, Any], place: int) -> None:
        """Pieces belong together by their index; some servers number every call 0, and tell them apart by their ids."""
        function, index, id = piece["function"], piece.get("index", place), piece.get("id")
        name, arguments = function.get("name"), function.get("arguments")
        call = self._calls.get(str(index))
        if call is None or (id and name and id != call.given_id):
            if not isinstance(name, str) or not name:
                return
            self._close_open()
            call = self._calls[str(index)] = Call(self._place("fc"), id=id, name=name)
            self._items.append(call)
        call.add(arguments if isinstance(arguments, str) else encode(arguments).decode() if arguments else "")

    def _close_open(self) -> None:
        if self._open is not None:
            self._open.close("completed")
            self._open = None

    def _place(self, kind: str) -> Place:
        return Place(self.events, f"{kind}_{self._suffix}{len(self._items)}", len(self._items))


def _text(said: object) -> str:
    """Some servers send a list of parts, as they take it."""
    if isinstance(said, list):
        said = "".join(part["text"] for part in said if isinstance(part, dict) and isinstance(part.get("text"), str))
    return said if isinstance(said, str) else ""
