"""Puts our labels on a provider's events, in place: id, model, provider, finish reasons. The same for every client API.

Every choice leaves with `finish_reason`, `native_finish_reason` and `logprobs`; the reason stands in exactly one chunk per choice.
"""

from typing import Any, Final

from providers.provider import ChatRequest, Endpoint, Event

FINISH_REASONS: Final = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "error": "error",
    "function_call": "function_call",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_length": "length",
    "tool_use": "tool_calls",
    "safety": "content_filter",
    "abort": "error",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "recitation": "content_filter",
    "blocklist": "content_filter",
    "prohibited_content": "content_filter",
    "spii": "content_filter",
    "image_safety": "content_filter",
    "malformed_function_call": "error",
}
"""A provider's finish reason -> OpenAI's; one that is not listed counts as `stop`, and is shown as it came in `native_finish_reason`."""


class Labels:
    """For one attempt's events. After the last one, `finish_reason` is that of the first choice, None if none came."""

    def __init__(self, *, generation_id: str, created: int, endpoint: Endpoint, request: ChatRequest) -> None:
        self._id = generation_id
        self._created = created
        self._model = endpoint.model.id
        self._provider = endpoint.provider.name
        self._object = "chat.completion.chunk" if request.stream else "chat.completion"
        self._n = request.n
        self.upstream_id: str | None = None
        self.finished: dict[int, str] = {}
        self.native: dict[int, str] = {}

    @property
    def all_finished(self) -> bool:
        return len(self.finished) >= self._n

    @property
    def finish_reason(self) -> str | None:
        return self.finished.get(min(self.finished)) if self.finished else None

    @property
    def native_finish_reason(self) -> str | None:
        return self.native.get(min(self.native)) if self.native else None

    def put(self, event: Event) -> None:
        if self.upstream_id is None:
            upstream_id = event.get("id")
            self.upstream_id = upstream_id[:100] if isinstance(upstream_id, str) else ""
        event["id"] = self._id
        event["object"] = self._object
        event["created"] = self._created
        event["model"] = self._model
        event["provider"] = self._provider
        event.setdefault("system_fingerprint", None)
        for choice in event["choices"]:
            self._put_choice(choice)

    def _put_choice(self, choice: dict[str, Any]) -> None:
        choice.setdefault("index", 0)
        choice.setdefault("logprobs", None)
        said = choice.get("finish_reason")
        if not said:
            choice["finish_reason"] = choice["native_finish_reason"] = None
            return
        index = choice["index"]
        if index in self.finished:
            choice["finish_reason"] = choice["native_finish_reason"] = None
            return
        reason, native = FINISH_REASONS.get(str(said).lower(), "stop"), choice.get("native_finish_reason") or said
        choice["finish_reason"], choice["native_finish_reason"] = reason, native
        self.finished[index], self.native[index] = reason, str(native)

    def chunk(self, choices: list[dict[str, Any]]) -> Event:
        """A chunk of our own in this answer."""
        event: Event = {"choices": choices}
        self.put(event)
        return event

    def last(self, reason: str) -> Event | None:
        """The chunk that ends every unfinished choice; None if all had ended."""
        unfinished = [index for index in range(self._n) if index not in self.finished]
        return self.chunk([{"index": index, "delta": {}, "finish_reason": reason} for index in unfinished]) if unfinished else None

    def broken(self) -> Event:
        """The chunk that carries an error: its choice ends with `error`, unless it had ended before."""
        return self.chunk([{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}])
