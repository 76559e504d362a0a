"""The `openai` dialect: any server that speaks OpenAI's chat completions. Canonical already, so events are checked, not translated."""

import msgspec

from providers import openai_embeddings
from providers.errors import ProviderInvalidAnswer, ProviderUnavailable
from providers.openai_request import fitted
from providers.provider import Call, Event, Events
from providers.reading import error_in_answer, json_object, json_or_none, opening, read_stream, refusal
from providers.sse import EventSplitter
from providers.wire import Response, Wire, segment


class OpenAIDialect:
    """One POST per attempt. A stream is complete when every choice has a finish_reason or the server said [DONE]."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def stream(self, call: Call) -> Events:
        embeds = call.request.operation == "embeddings"
        url = _url(call, openai_embeddings.PATH if embeds else "/chat/completions")
        body = openai_embeddings.payload(call) if embeds else _payload(call)
        response = await self._wire.post(url, headers=_headers(call), body=body, on_connect=call.on_connect)
        refused = None
        with response:
            if response.status // 100 != 2:
                refused = await refusal(response)
            elif embeds:
                yield [await openai_embeddings.read(response, call)]
            elif call.request.stream:
                async for batch in self._events(response, call.request.n):
                    yield batch
            else:
                yield [_completion(await response.body())]
        if refused is not None:
            raise refused  # outside, so that a connection that answered 429 properly is kept

    async def _events(self, response: Response, choices: int) -> Events:
        first = await opening(response)
        if first is not None and first.lstrip()[:1] == b"{":
            yield [_as_chunk(_completion(first + await response.body()))]
            return
        splitter = EventSplitter(self._wire.bounds.event_bytes_max)
        async for batch in read_stream(response, _Reader(choices), splitter, first):
            yield batch

    async def aclose(self) -> None:
        await self._wire.aclose()


class _Reader:
    """Decodes events and knows whether the stream has ended properly."""

    def __init__(self, choices: int) -> None:
        self.done = False
        self._seen = False
        self._unfinished = set(range(choices))

    def read(self, frame: bytes) -> list[Event]:
        if frame.strip() == b"[DONE]":
            self.done = True
            self._require_something()
            return []
        event = _event(frame)
        self._seen = True
        for choice in event["choices"]:
            if choice.get("finish_reason"):
                self._unfinished.discard(choice.get("index", 0))
        return [event]

    def last(self, rest: bytes) -> list[Event]:
        """The last event if only its blank line is missing; a torn one does not count."""
        whole = rest and (rest.strip() == b"[DONE]" or isinstance(json_or_none(rest), dict))
        return self.read(rest) if whole else []

    def check(self) -> None:
        self._require_something()
        if self._unfinished and not self.done:
            raise ProviderUnavailable("the provider's stream ended in the middle of the answer")

    def _require_something(self) -> None:
        if not self._seen:
            raise ProviderInvalidAnswer("the provider sent an empty stream")


def _url(call: Call, path: str) -> str:
    provider = call.endpoint.provider
    base = provider.base_url.rstrip("/").replace("{model}", segment(call.endpoint.upstream_model))
    return f"{base}{path}?{provider.query}" if provider.query else base + path


def _headers(call: Call) -> dict[str, str]:
    headers = {
        "content-type": "application/json",
        "accept": "text/event-stream" if call.request.stream else "application/json",
        "accept-encoding": "identity",
        "user-agent": "tollway",
    }
    if call.api_key:
        own = call.endpoint.provider.key_header
        headers |= {own: call.api_key} if own else {"authorization": f"Bearer {call.api_key}"}
    return headers


def _payload(call: Call) -> bytes:
    body = fitted(call.request.body.reveal(), call)
    body["model"] = call.endpoint.upstream_model
    if call.max_tokens is not None:
        sent: list[str] = [name for name in ("max_tokens", "max_completion_tokens") if name in body]
        body.update(dict.fromkeys(sent or [call.endpoint.provider.max_tokens_field], call.max_tokens))
    if call.request.stream:
        options = body.get("stream_options")
        body["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
    return msgspec.json.encode(body)


def _completion(raw: bytes) -> Event:
    event = _decoded(raw)
    for choice in event["choices"]:
        if not isinstance(choice.get("message"), dict):
            raise ProviderInvalidAnswer("the provider's answer has a choice without a message")
    if not event["choices"]:
        raise ProviderInvalidAnswer("the provider's answer has no choices")
    return event


def _event(data: bytes) -> Event:
    event = _decoded(data)
    for choice in event["choices"]:
        delta = choice.get("delta")
        if delta is None:
            choice["delta"] = {}
        elif not isinstance(delta, dict):
            raise ProviderInvalidAnswer("the provider sent an event whose delta is not an object")
    return event


def _decoded(raw: bytes) -> Event:
    """A JSON object with a list of choices, its usage at the top. An `error` in it or in its place is raised, whatever the status was."""
    event = json_object(raw)
    if event.get("error") or event.get("object") == "error":
        raise error_in_answer(event)
    choices = event.setdefault("choices", [])
    if not isinstance(choices, list) or not all(isinstance(choice, dict) and isinstance(choice.get("index", 0), int) for choice in choices):
        raise ProviderInvalidAnswer("the provider's answer has no list of choices")
    groq = event.pop("x_groq", None)
    if isinstance(groq, dict) and "usage" in groq and not event.get("usage"):
        event["usage"] = groq["usage"]
    return event


def _as_chunk(completion: Event) -> Event:
    """A whole completion as one chunk: a server that ignored `stream` still gives its client a stream."""
    for choice in completion["choices"]:
        message = choice.pop("message")
        calls = message.get("tool_calls")
        if isinstance(calls, list):
            message["tool_calls"] = [{"index": index, **call} for index, call in enumerate(calls) if isinstance(call, dict)]
        choice["delta"] = message
    return completion
