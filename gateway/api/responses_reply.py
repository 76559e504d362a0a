"""How a Responses answer is written: one response object, or its events with `response.completed` and the usage last.

The response's id is the generation's own, as on every other route: GET generation takes it, and a client that finds no `resp_` in it does
not try to continue from something stored. A stream that fails ends in `response.failed` and then in `error`: clients that read events see
the status, and OpenAI's SDKs, which go on silently after the first, raise on the second.
"""

from typing import Any, Final

import msgspec

from gateway.api.responses_body import Echo
from gateway.api.responses_items import NOWHERE
from gateway.api.responses_output import Output
from gateway.errors import Problem
from gateway.streaming import Streamed, Whole, Writer, encode
from metering.money import now_ms
from providers.provider import Event

INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
ENDED_BADLY: Final = Problem(502, "The provider ended its answer with an error.", {"error_type": "provider_unavailable"})
_CODES: Final = {402: "insufficient_quota", 429: "rate_limit_exceeded"}


class Answer:
    """One response, from its first event to its last: what has been said, and how it is to be shown."""

    def __init__(self, writer: Writer, echo: Echo, *, streamed: bool) -> None:
        self._echo = echo
        id = dict(writer.headers).get(b"x-generation-id", b"").decode()
        self._head = {"id": id, "created_at": now_ms() // 1000, "model": echo.model, "provider": None}
        self._service_tier: str | None = None
        self.output = Output(id, encrypted=echo.encrypted, streamed=streamed)
        self.reason: str | None = None

    def take(self, event: Event) -> None:
        """A Responses answer is one choice: the first."""
        for choice in event["choices"]:
            if choice.get("index") != 0:
                continue
            self.output.take(choice)
            if reason := choice.get("finish_reason"):
                self.reason = reason
                self.output.close(self._item_status)
        if isinstance(tier := event.get("service_tier"), str):
            self._service_tier = tier

    def label(self, event: Event | None) -> None:
        if event is not None:
            self._head = {"id": event["id"], "created_at": event["created"], "model": event["model"], "provider": event["provider"]}

    def begun(self) -> dict[str, Any]:
        return self._response("in_progress", [])

    def ended(self, usage: dict[str, Any] | None, trace: dict[str, Any] | None, problem: Problem | None = None) -> dict[str, Any]:
        """Closed, unless `problem` says what broke it."""
        if problem is None:
            self.output.close(self._item_status)
            problem = ENDED_BADLY if self.reason == "error" else None
        status = "failed" if problem else "incomplete" if self.reason in INCOMPLETE else "completed"
        response = self._response(status, self.output.objects())
        response["usage"] = _usage(usage) if usage else None
        if status == "completed":
            response["completed_at"] = now_ms() // 1000
        elif problem is not None:
            response["error"] = {"code": code_of(problem), "message": problem.message}
            response["error_type"] = problem.metadata.get("error_type")
        else:
            response["incomplete_details"] = {"reason": INCOMPLETE[self.reason or "length"]}
        if trace is not None:
            response["tollway_trace"] = trace
        return response

    def told(self, problem: Problem) -> Problem:
        """A problem that names a place in the chat's messages names the client's own item instead."""
        named = self._echo.messages.renamed
        return msgspec.structs.replace(problem, message=named(problem.message), param=problem.param and named(problem.param))

    @property
    def _item_status(self) -> str:
        return "incomplete" if self.reason in INCOMPLETE or self.reason == "error" else "completed"

    def _response(self, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
        nothing = {"error": None, "incomplete_details": None, "completed_at": None, "usage": None}
        return {
            **self._head,
            "object": "response",
            "status": status,
            **nothing,
            "output": output,
            "service_tier": self._service_tier,
            **self._echo.fields.reveal(),
        }


class ResponsesJson(Whole):
    """The whole response, once it has been charged."""

    def __init__(self, writer: Writer, echo: Echo) -> None:
        super().__init__(writer)
        self._answer = Answer(writer, echo, streamed=False)

    async def finish(self, usage: dict[str, Any], labels: Event, trace: dict[str, Any] | None) -> None:
        completion = self.completion or labels
        self._answer.label(completion)
        self._answer.take(completion)
        await self.send(200, self._answer.ended(usage, trace), {})

    async def fail(self, problem: Problem, labels: Event | None) -> None:
        problem = self._answer.told(problem)
        await self.send(problem.status, problem.body(), problem.headers)


class ResponsesStream(Streamed):
    """Every event as it is known; the last one, with the usage, once it has been charged. There is no [DONE] in this API."""

    def __init__(self, writer: Writer, echo: Echo) -> None:
        super().__init__(writer)
        self._answer = Answer(writer, echo, streamed=True)
        self._begun = False

    async def events(self, events: list[Event]) -> None:
        self._begin(events[0])
        for event in events:
            self._answer.take(event)
        if data := self._answer.output.events.leaving():
            await self.write(data, more=True)

    async def finish(self, usage: dict[str, Any], labels: Event, trace: dict[str, Any] | None) -> None:
        self._begin(labels)
        response = self._answer.ended(usage, trace)
        self._tell(f"response.{response['status']}", response)
        if response["error"] is not None:
            self._tell_error(ENDED_BADLY)
        await self.write(self._answer.output.events.leaving(), more=False)

    async def fail(self, problem: Problem, labels: Event | None) -> None:
        """Before the headers: a true status. After them the response has failed, and what was open stays incomplete."""
        problem = self._answer.told(problem)
        if not self.started:
            await self.refuse(problem.status, problem.body(), problem.headers)
            return
        self._begin(labels)
        usage = labels.get("usage") if labels is not None else None
        self._tell("response.failed", self._answer.ended(usage, None, problem))
        self._tell_error(problem)
        await self.write(self._answer.output.events.leaving(), more=False)

    def _begin(self, labels: Event | None) -> None:
        if self._begun:
            return
        self._begun = True
        self._answer.label(labels)
        begun = {"response": msgspec.Raw(encode(self._answer.begun()))}
        for kind in (b"response.created", b"response.in_progress"):
            self._answer.output.events.tell(kind, NOWHERE, begun)

    def _tell(self, kind: str, response: dict[str, Any]) -> None:
        self._answer.output.events.tell(kind.encode(), NOWHERE, {"response": response})

    def _tell_error(self, problem: Problem) -> None:
        """Flat as the SDKs type it, and with the `error` on which they raise."""
        code, nested = code_of(problem), problem.body()["error"]
        fields = {"code": code, "message": problem.message, "param": problem.param}
        error = {**fields, "error": {**nested, "code": code, "status": problem.status}}
        self._answer.output.events.tell(b"error", NOWHERE, error)


def code_of(problem: Problem) -> str:
    """In the words of the Responses API."""
    if problem.metadata.get("provider_code") == "context_length_exceeded":
        return "context_length_exceeded"
    return _CODES.get(problem.status) or ("invalid_prompt" if problem.status < 500 else "server_error")


def _usage(usage: dict[str, Any]) -> dict[str, Any]:
    """The receipt in the words of the Responses API; every amount as it was charged."""
    prompt, costs = usage["prompt_tokens_details"], usage["cost_details"]
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": prompt["cached_tokens"], "cache_write_tokens": prompt["cache_write_tokens"]},
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": usage["completion_tokens_details"]["reasoning_tokens"]},
        "total_tokens": usage["total_tokens"],
        "cost": usage["cost"],
        "hold": usage["hold"],
        "is_byok": usage["is_byok"],
        "usage_source": usage["usage_source"],
        "cost_details": {
            "upstream_inference_cost": costs["upstream_inference_cost"],
            "upstream_inference_input_cost": costs["upstream_inference_prompt_cost"],
            "upstream_inference_output_cost": costs["upstream_inference_completions_cost"],
        },
    }
