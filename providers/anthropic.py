"""The `anthropic` dialect: the Messages API of Anthropic and of those who speak it, POST {base_url}/v1/messages."""

import asyncio
from typing import Any

import msgspec

from providers.anthropic_errors import error_in, named
from providers.anthropic_events import Reader, count, finish, hidden, text, thought, usage_of
from providers.anthropic_request import headers, payload
from providers.errors import ProviderInvalidAnswer
from providers.provider import Call, Event, Events
from providers.reading import json_object, opening, read_stream, refusal
from providers.sse import EventSplitter
from providers.wire import Response, Wire


class AnthropicDialect:
    """One POST per attempt. A stream is complete when the provider said message_stop."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def stream(self, call: Call) -> Events:
        body = await asyncio.to_thread(payload, call) if call.request.media else payload(call)
        url = call.endpoint.provider.base_url.rstrip("/") + "/v1/messages"
        response = await self._wire.post(url, headers=headers(call), body=body, on_connect=call.on_connect)
        refused = None
        with response:
            if response.status // 100 != 2:
                refused = named(await refusal(response))
            elif call.request.stream:
                async for batch in self._events(response):
                    yield batch
            else:
                yield [_completion(await response.body())]
        if refused is not None:
            raise refused  # outside, so that a connection that answered 429 properly is kept

    async def _events(self, response: Response) -> Events:
        first = await opening(response)
        if first is not None and first.lstrip()[:1] == b"{":
            yield [_as_chunk(_completion(first + await response.body()))]
            return
        splitter = EventSplitter(self._wire.bounds.event_bytes_max)
        async for batch in read_stream(response, Reader(), splitter, first):
            yield batch

    async def aclose(self) -> None:
        await self._wire.aclose()


def _completion(raw: bytes) -> Event:
    """A whole message as a chat completion."""
    answer = json_object(raw)
    if answer.get("type") == "error" or answer.get("error"):
        raise error_in(answer)
    blocks = answer.get("content")
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise ProviderInvalidAnswer("the provider's answer has no list of content blocks")
    figures: dict[str, int] = {}
    count(figures, answer.get("usage"))
    choice = {"index": 0, "message": _message(blocks), **finish(answer)}
    return {"id": answer.get("id"), "choices": [choice], **usage_of(figures)}


def _message(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    said, reasoning, calls = [], [], []
    details: list[dict[str, Any]] = []
    for block in blocks:
        kind = block.get("type")
        if kind == "text":
            said.append(text(block, "text"))
        elif kind == "tool_use":
            calls.append(_call(block))
        elif kind == "thinking":
            reasoning.append(text(block, "thinking"))
            signature = text(block, "signature") if block.get("signature") else None
            details.append(thought(reasoning[-1], len(details), signature))
        elif kind == "redacted_thinking":
            details.append(hidden(text(block, "data"), len(details)))
    message: dict[str, Any] = {"role": "assistant", "content": "".join(said) if said or not calls else None}
    if details:
        message |= {"reasoning": "".join(reasoning) or None, "reasoning_details": details}
    return {**message, "tool_calls": calls} if calls else message


def _call(block: dict[str, Any]) -> dict[str, Any]:
    arguments = block.get("input")
    if not isinstance(arguments, dict):
        raise ProviderInvalidAnswer("the provider's answer has a tool call without its input")
    function = {"name": text(block, "name"), "arguments": msgspec.json.encode(arguments).decode()}
    return {"id": text(block, "id"), "type": "function", "function": function}


def _as_chunk(completion: Event) -> Event:
    """A server that ignored `stream` still gives its client a stream."""
    choice = completion["choices"][0]
    delta = choice.pop("message")
    if "tool_calls" in delta:
        delta["tool_calls"] = [{"index": index, **call} for index, call in enumerate(delta["tool_calls"])]
    choice["delta"] = delta
    return completion
