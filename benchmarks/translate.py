"""`make bench-translate`: what translation adds to a relay, per streamed event and per request, for every dialect and every client API.

In process, without sockets or money: a request's bytes are parsed, put into the provider's words, its recorded answer is read, counted,
labelled and written in the client's words. The yardstick is the same path where nothing is translated: a chat over the openai dialect.
"""

import argparse
import asyncio
import itertools
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.gateways import ROOT
from benchmarks.translate_load import API, APIS, DIALECTS, VECTORS, answer, asked, stream
from benchmarks.translate_report import Figures, Key, Results, render
from gateway.api.inference import ClientApi
from gateway.labels import Labels
from gateway.receipt import usage_object
from gateway.streaming import Writer
from metering.meter import Meter
from metering.price import cost, payable
from metering.tokens import tokenizer
from providers.bedrock_signing import authorization
from providers.provider import Dialect
from providers.registry import DIALECTS as BUILT
from providers.wire import Bounds
from tests.prove.recorded import asking
from tests.prove.tapes import Tapes

REPEATS: Final = 5
EVENTS: Final = 200
"""Of a long stream; a short one has one. Their difference is what events cost, the short one what a request costs."""


@dataclass
class Lane:
    """One client API over one dialect, with CPU nanoseconds of every round by the kind of its answer."""

    dialect: str
    api: str
    took: dict[str, list[int]] = field(default_factory=dict)

    def median_us(self, kind: str) -> float:
        return statistics.median(self.took[kind]) / 1000


class Way:
    """The way of one request through one process, as `gateway.pipeline` goes it, without holding, settling and recording."""

    def __init__(self) -> None:
        self._wire = Tapes(Bounds())
        self._dialects: dict[str, Dialect] = {name: BUILT[name](self._wire) for name in DIALECTS}
        self._tokenizer = tokenizer("o200k_base")
        self.written = 0

    async def go(self, api: ClientApi, dialect: str, body: bytes, pieces: list[bytes]) -> int:
        """CPU nanoseconds from the request's bytes to the last byte of its answer."""
        self._wire.pieces, self.written = pieces, 0
        writer = Writer(self._send)
        began = time.thread_time_ns()
        parsed = api.parse(body, {})
        reply, request = parsed.reply(writer), parsed.request
        call = msgspec.structs.replace(asking(dialect, request), api_key="an-api-key")
        meter = Meter(self._tokenizer, tokens_max=10_000, tokens_limit=10_000, prompt_tokens_max=10_000)
        labels = Labels(generation_id="gen-1", created=0, endpoint=call.endpoint, request=request)
        async for batch in self._dialects[dialect].stream(call):
            for event in batch:
                meter.see(event)
                labels.put(event)
            if leaving := [event for event in batch if event["choices"]]:
                await reply.events(leaving)
        used, source = meter.usage(10, whole=True)
        due = cost(payable(used, call.endpoint.price), call.endpoint.price)
        await reply.finish(usage_object(used, due, charge=due.charge, held=due.charge, source=source), labels.chunk([]), None)
        return time.thread_time_ns() - began

    async def _send(self, message: dict[str, Any]) -> None:
        self.written += len(message.get("body", b""))


def lanes() -> list[Lane]:
    return [Lane(dialect, api) for dialect, api in itertools.product(DIALECTS, APIS) if api != "embeddings" or dialect in VECTORS]


def kinds(lane: Lane) -> Iterator[tuple[str, bytes, list[bytes]]]:
    """(kind, body, pieces): whole, and but for embeddings a stream of one event and a long one."""
    yield "whole", asked(lane.api, stream=False), [answer(lane.dialect, lane.api)]
    if lane.api != "embeddings":
        for kind, events in (("short", 1), ("long", EVENTS + 1)):
            yield kind, asked(lane.api, stream=True), stream(lane.dialect, events)


async def measure(rounds: int) -> list[Lane]:
    """All lanes in every round, so that a slow moment of the machine is everyone's."""
    path, every = Way(), lanes()
    work = [(lane, kind, body, pieces) for lane in every for kind, body, pieces in kinds(lane)]
    for number in range(-1, rounds):
        for lane, kind, body, pieces in work:
            took = [await path.go(API[lane.api], lane.dialect, body, pieces) for _ in range(REPEATS)]
            assert path.written > 50
            if number >= 0:
                lane.took.setdefault(kind, []).extend(took)
    return every


def signature_us(rounds: int) -> float:
    """What signing a request with a pair of keys costs more than naming an API key."""
    body, headers, took = asked("chat", stream=False), {"content-type": "application/json"}, []
    for _ in range(rounds * REPEATS):
        began = time.thread_time_ns()
        authorization("https://example.com/model/m/converse", headers, body, api_key="AKIDEXAMPLE:secret", region="eu-west-3", at_ms=0)
        took.append(time.thread_time_ns() - began)
    return statistics.median(took) / 1000


def figures(every: list[Lane]) -> dict[Key, Figures]:
    """Microseconds of each lane."""
    told = {}
    for lane in every:
        event = (lane.median_us("long") - lane.median_us("short")) / EVENTS if "long" in lane.took else None
        streamed = lane.median_us("short") if "short" in lane.took else None
        told[lane.dialect, lane.api] = Figures(event=event, streamed=streamed, whole=lane.median_us("whole"))
    return told


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.translate", description=__doc__)
    parser.add_argument("--rounds", type=int, default=60, help="default: 60")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "translate_results.md")
    wanted = parser.parse_args()
    if wanted.rounds < 3:
        parser.error("--rounds must be at least 3")
    results = Results(
        command=f"python -m benchmarks.translate --rounds {wanted.rounds}", rounds=wanted.rounds, events=EVENTS, repeats=REPEATS
    )
    results.figures = figures(asyncio.run(measure(wanted.rounds)))
    results.signature_us = signature_us(wanted.rounds)
    table = render(results)
    wanted.out.write_text(table)
    print(table)
    return 0 if results.missed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
