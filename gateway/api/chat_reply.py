"""How a chat answer is written: one chat completion, or its chunks as server-sent events."""

from typing import Any, Final

from gateway.errors import Problem
from gateway.streaming import Streamed, Whole, Writer, encode
from providers.provider import Event

DONE: Final = b"data: [DONE]\n\n"


def show_reasoning(event: Event) -> None:
    """Thoughts that a provider calls `reasoning_content` stand under `reasoning` too, where OpenRouter's clients look for them."""
    for choice in event["choices"]:
        part = choice.get("delta") or choice.get("message")
        if part and "reasoning_content" in part and "reasoning" not in part:
            part["reasoning"] = part["reasoning_content"]


class ChatJson(Whole):
    """The completion with its usage, once it has been charged."""

    async def finish(self, usage: dict[str, Any], labels: Event, trace: dict[str, Any] | None) -> None:
        completion = self.completion or labels
        show_reasoning(completion)
        completion["object"] = "chat.completion"
        completion["usage"] = usage
        if trace is not None:
            completion["tollway_trace"] = trace
        await self.send(200, completion, {})

    async def fail(self, problem: Problem, labels: Event | None) -> None:
        await self.send(problem.status, problem.body(), problem.headers)


class ChatStream(Streamed):
    """Every event is a chunk; the usage is the last one before [DONE]."""

    def __init__(self, writer: Writer, *, include_usage: bool) -> None:
        super().__init__(writer)
        self._include_usage = include_usage

    async def events(self, events: list[Event]) -> None:
        for event in events:
            show_reasoning(event)
        await self.write(b"".join([b"data: " + encode(event) + b"\n\n" for event in events]), more=True)

    async def finish(self, usage: dict[str, Any], labels: Event, trace: dict[str, Any] | None) -> None:
        """Asked-for usage comes as OpenAI's chunk without choices, unasked usage with one empty choice, for clients that index it."""
        empty = {"index": 0, "delta": {}, "finish_reason": None, "native_finish_reason": None, "logprobs": None}
        last = {**labels, "choices": [] if self._include_usage else [empty], "usage": usage}
        if trace is not None:
            last["tollway_trace"] = trace
        await self.write(b"data: " + encode(last) + b"\n\n" + DONE, more=False)

    async def fail(self, problem: Problem, labels: Event | None) -> None:
        """Before the headers: a true status. After them: one error chunk, and no [DONE], so that a cut never looks like an end."""
        if not self.started:
            await self.refuse(problem.status, problem.body(), problem.headers)
            return
        choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error", "native_finish_reason": "error", "logprobs": None}
        chunk = {"object": "chat.completion.chunk", "choices": [choice], **(labels or {}), **problem.body()}
        await self.write(b"data: " + encode(chunk) + b"\n\n", more=False)
