"""The `bedrock` dialect: Amazon Bedrock's Converse API, POST {base_url}/model/{model}/converse, signed or with a Bedrock API key."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from metering.money import now_ms
from providers import bedrock_embeddings
from providers.bedrock_answer import Style, as_chunk, completion
from providers.bedrock_botocore import load
from providers.bedrock_embeddings import Vectors
from providers.bedrock_errors import refusal
from providers.bedrock_events import Reader
from providers.bedrock_frames import FrameSplitter
from providers.bedrock_request import payload
from providers.bedrock_signing import authorization, region_of
from providers.provider import Call, Event, Events
from providers.reading import opening, read_stream
from providers.wire import Response, Wire, segment

EMBEDDING_CALLS_AT_ONCE: Final = 8
SIGNED_INLINE_BYTES_MAX: Final = 2**20
"""A larger body is signed in a thread: 20 MiB of it would stop every other stream for 20 ms."""
JSON: Final = "application/json"
EVENT_STREAM: Final = "application/vnd.amazon.eventstream"


class BedrockDialect:
    """One POST per attempt, for embeddings one for each text or batch of them. `clock` gives the Unix ms that signatures are dated with."""

    def __init__(self, wire: Wire, clock: Callable[[], int] = now_ms) -> None:
        self._wire = wire
        self._clock = clock

    async def stream(self, call: Call) -> Events:
        await load()
        if call.request.operation == "embeddings":
            yield [await self._embeddings(call)]
            return
        body = await asyncio.to_thread(payload, call) if call.request.media else payload(call)
        streamed, style = call.request.stream, Style.of(call.endpoint.upstream_model)
        response = await self._post(call, "converse-stream" if streamed else "converse", body, EVENT_STREAM if streamed else JSON)
        refused = None
        with response:
            if response.status // 100 != 2:
                refused = await refusal(response)
            elif streamed:
                async for batch in self._events(response, style):
                    yield batch
            else:
                yield [completion(await response.body(), style)]
        if refused is not None:
            raise refused  # outside, so that a connection that answered 429 properly is kept

    async def _events(self, response: Response, style: Style) -> Events:
        first = await opening(response)
        if first is not None and first.lstrip()[:1] == b"{":
            yield [as_chunk(completion(first + await response.body(), style))]
            return
        async for batch in read_stream(response, Reader(style), FrameSplitter(self._wire.bounds.event_bytes_max), first):
            yield batch

    async def _embeddings(self, call: Call) -> Event:
        """Some calls at a time; the first that fails ends the others."""
        room, calls = asyncio.Semaphore(EMBEDDING_CALLS_AT_ONCE), bedrock_embeddings.calls(call)

        async def embed(body: bytes, wanted: int) -> Vectors:
            async with room:
                return await self._embed(call, body, wanted)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(embed(body, wanted)) for body, wanted in calls]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return bedrock_embeddings.completion([task.result() for task in tasks])

    async def _embed(self, call: Call, body: bytes, wanted: int) -> Vectors:
        response = await self._post(call, "invoke", body, JSON)
        with response:
            refused = await refusal(response) if response.status // 100 != 2 else None
            raw = b"" if refused else await response.body()
        if refused is not None:
            raise refused
        if len(raw) > bedrock_embeddings.INLINE_BYTES_MAX:
            return await asyncio.to_thread(bedrock_embeddings.read, raw, wanted, response.headers)
        return bedrock_embeddings.read(raw, wanted, response.headers)

    async def _post(self, call: Call, operation: str, body: bytes, accept: str) -> Response:
        provider = call.endpoint.provider
        url = f"{provider.base_url.rstrip('/')}/model/{segment(call.endpoint.upstream_model)}/{operation}"
        signed = {"content-type": JSON, "accept": accept}
        sign = partial(authorization, url, signed, body, api_key=call.api_key, region=region_of(provider), at_ms=self._clock())
        proof = sign() if len(body) <= SIGNED_INLINE_BYTES_MAX else await asyncio.to_thread(sign)
        headers = {**signed, "accept-encoding": "identity", "user-agent": "tollway", **proof}
        return await self._wire.post(url, headers=headers, body=body, on_connect=call.on_connect)

    async def aclose(self) -> None:
        await self._wire.aclose()
