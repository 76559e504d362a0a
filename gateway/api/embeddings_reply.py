"""How embeddings are written: OpenAI's list, its vectors as numbers or as base64, once they have been charged."""

import asyncio
from typing import Any, Final

import msgspec

from gateway.errors import Problem
from gateway.streaming import Whole, Writer, encode
from providers.provider import Event
from providers.vectors import Vector, packed

INLINE_NUMBERS_MAX: Final = 64 * 1024
"""A larger answer is written in a thread, vector by vector: at 3 ms it would delay every other stream."""


class EmbeddingsJson(Whole):
    """`base64`: little-endian float32, as OpenAI's SDKs ask for by default."""

    def __init__(self, writer: Writer, *, base64: bool) -> None:
        super().__init__(writer)
        self._base64 = base64

    async def finish(self, usage: dict[str, Any], labels: Event, trace: dict[str, Any] | None) -> None:
        completion = self.completion or labels
        vectors = completion["choices"][0]["message"]["embeddings"] if completion["choices"] else []
        if sum(map(len, vectors)) <= INLINE_NUMBERS_MAX:
            data = self._data(vectors)
        else:
            data = await asyncio.to_thread(self._data, vectors)
        answer = {
            "object": "list",
            "data": data,
            "model": completion["model"],
            "id": completion["id"],
            "provider": completion["provider"],
            "usage": usage,
        }
        if trace is not None:
            answer["tollway_trace"] = trace
        await self.send(200, answer, {})

    async def fail(self, problem: Problem, labels: Event | None) -> None:
        await self.send(problem.status, problem.body(), problem.headers)

    def _data(self, vectors: list[Vector]) -> list[dict[str, Any]]:
        return [
            {"object": "embedding", "index": index, "embedding": msgspec.Raw(encode(packed(vector) if self._base64 else list(vector)))}
            for index, vector in enumerate(vectors)
        ]
