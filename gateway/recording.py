"""Keeps what was asked and answered, where the account's choice allows it: listens to what leaves for the client, stores it at the end.

The pipeline knows nothing of it: a `Recorded` reply stands before the client's own. It stores after the settle and before the end is
told, so that who has the whole answer finds its log; a database that fails then costs the log, never the answer.
"""

import logging
import secrets
from typing import Any, Final

from gateway.errors import Problem
from gateway.generation import Generation
from gateway.passing import Passing
from gateway.services import Services
from gateway.streaming import Reply
from metering.errors import MeteringError
from metering.money import now_ms
from policy import content_store
from policy.errors import SealBroken
from policy.privacy import keeps_content
from providers.content import Content
from providers.provider import ChatRequest, Event

_TEXTS: Final = ("content", "reasoning", "refusal")
_log = logging.getLogger("tollway.content")


def record(generation: Generation, at: Services) -> None:
    """Puts a `Recorded` before the generation's reply if its content is to be kept as things stand now; asked again when it is stored."""
    choice = generation.caller.choice.privacy
    if keeps_content(choice, generation.level, key_id=generation.caller.key_id, generation_id=generation.id):
        generation.reply = Recorded(generation.reply, generation, at)


class Transcript:
    """One answer put together from its events, choice by choice; bounded: `too_long` forgets everything."""

    def __init__(self) -> None:
        self._choices: dict[int, dict[str, Any]] = {}
        self._characters = 0
        self.too_long = False

    def note(self, events: list[Event]) -> None:
        for event in events:
            for choice in () if self.too_long else event["choices"]:
                part = choice.get("delta") or choice.get("message")
                if isinstance(part, dict):
                    self._take(self._choices.setdefault(choice.get("index", 0), {"tool_calls": {}}), part)
        if self._characters > content_store.BYTES_MAX:
            self._choices, self.too_long = {}, True

    def choices(self) -> list[dict[str, Any]]:
        return [_choice(self._choices[index]) for index in sorted(self._choices)]

    def _take(self, said: dict[str, Any], part: dict[str, Any]) -> None:
        for name in _TEXTS:
            if isinstance(part.get(name), str):
                said.setdefault(name, []).append(part[name])
                self._characters += len(part[name])
        calls = part.get("tool_calls")
        for place, call in enumerate(calls if isinstance(calls, list) else ()):
            if isinstance(call, dict):
                self._take_call(said["tool_calls"], call, place)

    def _take_call(self, calls: dict[int, dict[str, Any]], call: dict[str, Any], place: int) -> None:
        """A provider may write anything here; what is not as it should be is left out."""
        index, function = call.get("index"), call.get("function")
        function = function if isinstance(function, dict) else {}
        kept = calls.setdefault(index if isinstance(index, int) else place, {"id": None, "name": None, "arguments": []})
        kept["id"], kept["name"] = call.get("id") or kept["id"], function.get("name") or kept["name"]
        if isinstance(function.get("arguments"), str):
            kept["arguments"].append(function["arguments"])
            self._characters += len(function["arguments"])


class Recorded(Passing):
    """A Reply that notes what it passes on, and stores it before it tells the end."""

    def __init__(self, reply: Reply, generation: Generation, at: Services) -> None:
        super().__init__(reply)
        self._generation = generation
        self._at = at
        self._transcript = Transcript()
        self._stored = False

    async def events(self, events: list[Event]) -> None:
        self._transcript.note(events)
        await super().events(events)

    async def finish(self, usage: dict[str, Any], labels: Event, trace: dict[str, Any] | None) -> None:
        await self._store(None)
        await super().finish(usage, labels, trace)

    async def fail(self, problem: Problem, labels: Event | None) -> None:
        await self._store({"message": problem.message, "status": problem.status})
        await super().fail(problem, labels)

    async def _store(self, error: dict[str, Any] | None) -> None:
        generation, at = self._generation, self._at
        if self._transcript.too_long or self._stored:
            return
        self._stored = True
        try:
            await at.database.write(
                content_store.put,
                generation_id=generation.id,
                account_id=generation.caller.account_id,
                key_id=generation.caller.key_id,
                level=generation.level,
                content=Content(_content(generation.request, self._transcript, error)),
                wrapper=at.wrapper,
                random_bytes=secrets.token_bytes,
                now=now_ms(),
            )
        except (MeteringError, SealBroken) as failed:
            _log.warning("the content of %s could not be stored: %s", generation.id, type(failed).__name__)


def _content(request: ChatRequest, transcript: Transcript, error: dict[str, Any] | None) -> dict[str, Any]:
    """As `GET generation/content` shows it: OpenRouter's fields, and every choice."""
    choices = transcript.choices()
    first = choices[0] if choices else {}
    output = {"completion": first.get("content"), "reasoning": first.get("reasoning"), "choices": choices}
    return {"input": request.body.reveal(), "output": output, "error": error}


def _choice(said: dict[str, Any]) -> dict[str, Any]:
    texts: dict[str, Any] = {name: "".join(said[name]) for name in _TEXTS if name in said}
    calls = [{**call, "arguments": "".join(call["arguments"])} for _, call in sorted(said["tool_calls"].items())]
    return {**texts, **({"tool_calls": calls} if calls else {})}
