"""How the answer to a text completion is written: the text of each choice, and beside it whatever else its message holds.

So reasoning is no part of `text`. Usage, errors and the end of a stream are as in a chat.
"""

from typing import Any, Final

from gateway.api.chat_reply import DONE
from gateway.errors import Problem
from gateway.streaming import Streamed, Whole, Writer, encode
from providers.provider import Event

IN_TEXT: Final = ("content", "refusal")
NOT_BESIDE: Final = (*IN_TEXT, "role", "reasoning_content")


class Texts:
    """The choices of one answer, chunk by chunk; `prefix` is what each of them begins with."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._characters: dict[int, int] = {}

    def of(self, event: Event) -> Event:
        return {**event, "object": "text_completion", "choices": [self._choice(choice) for choice in event["choices"]]}

    def _choice(self, choice: dict[str, Any]) -> dict[str, Any]:
        part, index = choice.get("delta") or choice.get("message") or {}, choice["index"]
        text = "".join(_text(part.get(name)) for name in IN_TEXT)
        first = index not in self._characters
        start = len(self._prefix) if first else self._characters[index]
        self._characters[index] = start + len(text)
        beside = {name: value for name, value in part.items() if value and name not in NOT_BESIDE}
        if reasoning := part.get("reasoning_content"):
            beside.setdefault("reasoning", reasoning)
        return {
            **beside,
            "text": self._prefix + text if first else text,
            "index": index,
            "logprobs": _logprobs(choice.get("logprobs"), start),
            "finish_reason": choice["finish_reason"],
            "native_finish_reason": choice["native_finish_reason"],
        }


def _text(content: Any) -> str:
    """Some servers answer in parts."""
    if isinstance(content, list):
        return "".join(_text(part.get("text")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _logprobs(of_chat: Any, start: int) -> dict[str, Any] | None:
    """The old shape: parallel lists. `start` is where the first token stands in the text, in characters."""
    entries = of_chat.get("content") if isinstance(of_chat, dict) else None
    if not isinstance(entries, list):
        return None
    lists: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
    for entry in filter(_is_logprob, entries):
        lists["tokens"].append(entry["token"])
        lists["token_logprobs"].append(entry["logprob"])
        lists["top_logprobs"].append(_alternatives(entry))
        lists["text_offset"].append(start)
        start += len(entry["token"])
    return lists


def _alternatives(entry: dict[str, Any]) -> dict[str, Any]:
    """With the token itself, as OpenAI documents it."""
    others = entry.get("top_logprobs")
    return {each["token"]: each["logprob"] for each in (*(others if isinstance(others, list) else ()), entry) if _is_logprob(each)}


def _is_logprob(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("token"), str) and "logprob" in entry


def _speaks(choice: dict[str, Any]) -> bool:
    """Whether a chunk's choice says more than that it is there: text, a reason to end, or something beside the text."""
    return bool(choice["text"] or choice["finish_reason"] or choice["logprobs"]) or len(choice) > len(_empty(None))


class CompletionJson(Whole):
    """The completion with its usage, once it has been charged."""

    def __init__(self, writer: Writer, prefix: str) -> None:
        super().__init__(writer)
        self._texts = Texts(prefix)

    async def finish(self, usage: dict[str, Any], labels: Event, trace: dict[str, Any] | None) -> None:
        chat = self.completion or labels
        completion = {**self._texts.of(chat), "usage": usage}
        if trace is not None:
            completion["tollway_trace"] = trace
        await self.send(200, completion, {})

    async def fail(self, problem: Problem, labels: Event | None) -> None:
        await self.send(problem.status, problem.body(), problem.headers)


class CompletionStream(Streamed):
    """Every event with something to say is a chunk; the usage is the last one before [DONE]."""

    def __init__(self, writer: Writer, prefix: str, *, include_usage: bool) -> None:
        super().__init__(writer)
        self._texts = Texts(prefix)
        self._include_usage = include_usage

    async def events(self, events: list[Event]) -> None:
        chunks = [self._texts.of(event) for event in events]
        data = b"".join([b"data: " + encode(chunk) + b"\n\n" for chunk in chunks if any(map(_speaks, chunk["choices"]))])
        if data:
            await self.write(data, more=True)

    async def finish(self, usage: dict[str, Any], labels: Event, trace: dict[str, Any] | None) -> None:
        last = {**labels, "object": "text_completion", "choices": [] if self._include_usage else [_empty(None)], "usage": usage}
        if trace is not None:
            last["tollway_trace"] = trace
        await self.write(b"data: " + encode(last) + b"\n\n" + DONE, more=False)

    async def fail(self, problem: Problem, labels: Event | None) -> None:
        if not self.started:
            await self.refuse(problem.status, problem.body(), problem.headers)
            return
        choices = [{**_empty("error"), **_reasons(choice)} for choice in (labels or {}).get("choices", ())] or [_empty("error")]
        chunk = {**(labels or {}), "object": "text_completion", "choices": choices, **problem.body()}
        await self.write(b"data: " + encode(chunk) + b"\n\n", more=False)


def _reasons(choice: dict[str, Any]) -> dict[str, Any]:
    return {name: choice[name] for name in ("index", "finish_reason", "native_finish_reason")}


def _empty(reason: str | None) -> dict[str, Any]:
    return {"text": "", "index": 0, "logprobs": None, "finish_reason": reason, "native_finish_reason": reason}
