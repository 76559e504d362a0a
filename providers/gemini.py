"""The `gemini` dialect: Google's generateContent, v1beta, with an API key; `base_url` ends in /v1beta."""

import asyncio

import msgspec

from providers import gemini_embeddings
from providers.errors import ProviderInvalidAnswer
from providers.gemini_answer import Answer
from providers.gemini_errors import refusal
from providers.gemini_request import payload
from providers.provider import Call, Event, Events
from providers.reading import json_object, json_or_none, opening, read_stream
from providers.sse import EventSplitter
from providers.wire import Response, Wire, segment


class GeminiDialect:
    """One POST per attempt, for embeddings one for every hundred texts."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def stream(self, call: Call) -> Events:
        if call.request.operation == "embeddings":
            yield [await self._embeddings(call)]
        elif call.request.stream:
            async for batch in self._streamed(call):
                yield batch
        else:
            raw = await self._whole(call, "generateContent", await _body(call))
            yield [Answer(call.generation_id, call.request.n).completion(json_object(raw))]

    async def _streamed(self, call: Call) -> Events:
        response = await self._post(call, "streamGenerateContent?alt=sse", await _body(call))
        refused = None
        with response:
            if response.status // 100 != 2:
                refused = await refusal(response)
            else:
                async for batch in self._events(response, Answer(call.generation_id, call.request.n)):
                    yield batch
        if refused is not None:
            raise refused  # outside, so that a connection that answered 429 properly is kept

    async def _events(self, response: Response, answer: Answer) -> Events:
        first = await opening(response)
        if first is not None and first.lstrip()[:1] in (b"{", b"["):
            yield [answer.chunk(event) for event in _listed(first + await response.body())]
            answer.check()
            return
        async for batch in read_stream(response, answer, EventSplitter(self._wire.bounds.event_bytes_max), first):
            yield batch

    async def _embeddings(self, call: Call) -> Event:
        answers = []
        for requests in gemini_embeddings.batches(call):
            raw = await self._whole(call, gemini_embeddings.METHOD, msgspec.json.encode({"requests": requests}))
            answers.append(await gemini_embeddings.read(raw, len(requests)))
        return gemini_embeddings.completion(answers)

    async def _whole(self, call: Call, method: str, body: bytes) -> bytes:
        response = await self._post(call, method, body)
        with response:
            refused = await refusal(response) if response.status // 100 != 2 else None
            raw = b"" if refused else await response.body()
        if refused is not None:
            raise refused
        return raw

    async def _post(self, call: Call, method: str, body: bytes) -> Response:
        endpoint = call.endpoint
        url = f"{endpoint.provider.base_url.rstrip('/')}/models/{segment(endpoint.upstream_model)}:{method}"
        headers = {
            "content-type": "application/json",
            "accept": "text/event-stream" if "alt=sse" in method else "application/json",
            "accept-encoding": "identity",
            "user-agent": "tollway",
        }
        if call.api_key:
            headers["x-goog-api-key"] = call.api_key
        return await self._wire.post(url, headers=headers, body=body, on_connect=call.on_connect)

    async def aclose(self) -> None:
        await self._wire.aclose()


async def _body(call: Call) -> bytes:
    """Images and files are large: in a thread they delay no other stream."""
    return await asyncio.to_thread(payload, call) if call.request.media else payload(call)


def _listed(raw: bytes) -> list[Event]:
    """A stream that came as one JSON document, which is what a server or proxy that does not know `alt=sse` sends."""
    value = json_or_none(raw)
    answers = [answer for answer in (value if isinstance(value, list) else [value]) if isinstance(answer, dict)]
    if not answers or (isinstance(value, list) and len(answers) < len(value)):
        raise ProviderInvalidAnswer("the provider's answer is not a JSON object")
    return answers
