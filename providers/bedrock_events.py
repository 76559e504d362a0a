"""A ConverseStream as canonical events: content blocks that open, grow and close become deltas of one choice."""

from collections.abc import Callable
from typing import Final

from providers.bedrock_answer import Style, chunk, finish, invalid, text, usage_of
from providers.bedrock_errors import error_in
from providers.bedrock_frames import BROKEN, EXCEPTION
from providers.errors import ProviderInvalidAnswer, ProviderUnavailable
from providers.provider import Event
from providers.reading import json_object


class Reader:
    """Usage comes after the end of the message, so a stream is done with both; without usage, with the end of the body.

    What the API does not allow is ProviderInvalidAnswer; events and deltas of other kinds are left out.
    """

    def __init__(self, style: Style) -> None:
        self.done = False
        self._style = style
        self._started = self._stopped = False
        self._calls: dict[int, int] = {}
        self._empty: set[int] = set()
        self._thoughts: dict[int, int] = {}
        self._called = 0

    def read(self, frame: bytes) -> list[Event]:
        name, _, data = frame.partition(b"\n")
        known = _READS.get(name)
        if known is not None:
            if not self._started and name != b"messageStart":
                raise invalid("an event before the message")
            return known(self, json_object(data))
        if frame.startswith(BROKEN):
            raise ProviderInvalidAnswer(data.decode())
        if name.startswith(EXCEPTION):
            raise error_in(name.removeprefix(EXCEPTION).decode(), data)
        return []

    def last(self, rest: bytes) -> list[Event]:
        """A torn frame does not count."""
        return []

    def check(self) -> None:
        if not self._started:
            raise invalid("an empty stream")
        if not self._stopped:
            raise ProviderUnavailable("the provider's stream ended in the middle of the answer")

    def _start(self, event: Event) -> list[Event]:
        if self._started:
            raise invalid("a message inside another")
        self._started = True
        return [chunk({"role": "assistant", "content": ""})]

    def _begin(self, event: Event) -> list[Event]:
        """Only a tool's call is announced; other blocks begin with their first delta."""
        index, start = self._place(event), event.get("start")
        tool = start.get("toolUse") if isinstance(start, dict) else None
        if tool is None:
            return []
        if not isinstance(tool, dict) or index in self._calls:
            raise invalid("a tool call that cannot begin")
        self._calls[index], self._called = self._called, self._called + 1
        self._empty.add(index)
        function = {"name": text(tool, "name"), "arguments": ""}
        call = {"index": self._calls[index], "id": text(tool, "toolUseId"), "type": "function", "function": function}
        return [chunk({"tool_calls": [call]})]

    def _grow(self, event: Event) -> list[Event]:
        index, delta = self._place(event), event.get("delta")
        if not isinstance(delta, dict):
            raise invalid("a delta that is no object")
        if "text" in delta:
            said = text(delta, "text")
            return [chunk({"content": said})] if said else []
        if "toolUse" in delta:
            return self._argue(index, delta["toolUse"])
        if "reasoningContent" in delta:
            return self._think(index, delta["reasoningContent"])
        return []

    def _argue(self, index: int, delta: object) -> list[Event]:
        if not isinstance(delta, dict) or index not in self._calls:
            raise invalid("arguments without their tool call")
        more = text(delta, "input")
        if not more:
            return []
        self._empty.discard(index)
        return [_arguments(self._calls[index], more)]

    def _think(self, index: int, delta: object) -> list[Event]:
        if not isinstance(delta, dict):
            raise invalid("a thought that is no object")
        place = self._thoughts.setdefault(index, len(self._thoughts))
        if "text" in delta:
            said = text(delta, "text")
            return [chunk({"reasoning": said, "reasoning_details": [self._style.thought(said, place)]})] if said else []
        if "signature" in delta:
            return [chunk({"reasoning_details": [self._style.thought("", place, text(delta, "signature"))]})]
        if "redactedContent" in delta:
            return [chunk({"reasoning_details": [self._style.hidden(text(delta, "redactedContent"), place)]})]
        return []

    def _end(self, event: Event) -> list[Event]:
        """A call that got no arguments has none: canonical ones are a JSON object all the same."""
        index = self._place(event)
        if index not in self._empty:
            return []
        self._empty.remove(index)
        return [_arguments(self._calls[index], "{}")]

    def _stop(self, event: Event) -> list[Event]:
        if self._stopped:
            raise invalid("an end after the end")
        self._stopped = True
        events = [_arguments(self._calls[index], "{}") for index in sorted(self._empty)]
        return [*events, {"choices": [{"index": 0, "delta": {}, **finish(event)}]}]

    def _metadata(self, event: Event) -> list[Event]:
        self.done = self._stopped
        usage = usage_of(event.get("usage"))
        return [{"choices": [], **usage}] if usage else []

    def _place(self, event: Event) -> int:
        index = event.get("contentBlockIndex")
        if self._stopped or type(index) is not int:
            raise invalid("a content block without its place")
        return index


_READS: Final[dict[bytes, Callable[[Reader, Event], list[Event]]]] = {
    b"contentBlockDelta": Reader._grow,
    b"contentBlockStart": Reader._begin,
    b"contentBlockStop": Reader._end,
    b"messageStart": Reader._start,
    b"messageStop": Reader._stop,
    b"metadata": Reader._metadata,
}


def _arguments(place: int, more: str) -> Event:
    return chunk({"tool_calls": [{"index": place, "function": {"arguments": more}}]})
