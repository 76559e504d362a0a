"""`python -m tests.prove.fuzz`: mutated answers for every dialect's reader and mutated requests for every client API's parser.

A mutation is a recorded answer or a valid request with one to four changes (bytes, frames, values inside the JSON; `mutate`). An answer
is read whole and again in random pieces, sometimes byte by byte: the events and the error must be the same, the error a ProviderError,
and a stream may end cleanly only if every choice was given its end. A recorded stream that is only cut short must never end cleanly. What
was read is then told to a client in the words of each client API. A request must be understood or refused; what was understood is said to
each dialect. Any other exception, a mutation that takes more than a second of CPU, or memory that grows without end is a violation.

It reads through the real dialects and the wire's own response; only the connection beneath is a recording. What it cannot show: that
a right answer is understood rightly; that is what tests/providers and tests/contract/test_dialects.py are for. Exit status 1 on any
violation; `--only ID` repeats one mutation.
"""

import argparse
import asyncio
import random
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Final

import msgspec

from gateway.api import chat, completions, embeddings, messages, messages_body, responses
from gateway.api.inference import Asked, ClientApi
from gateway.errors import problem
from gateway.labels import Labels
from gateway.receipt import usage_object
from gateway.streaming import Writer
from metering.meter import Meter
from metering.price import Cost, cost, payable
from metering.tokens import tokenizer
from metering.usage import Usage
from providers import prompt
from providers.errors import ProviderError
from providers.provider import Call, ChatRequest, Dialect, Event
from providers.registry import DIALECTS, EMBEDDERS
from providers.wire import Bounds, Wire
from tests.prove import mutate, scorecard
from tests.prove.recorded import DIALECTS as KNOWN
from tests.prove.recorded import Recorded, answers, asking, requests
from tests.prove.tapes import Tapes

SLOW_SECONDS: Final = 1.0
HANG_SECONDS: Final = 10
MEMORY_MIB_MAX: Final = 64
OTHERWISE: Final = "cut otherwise, read otherwise"
BOUNDS: Final = Bounds(event_bytes_max=2048, response_bytes_max=2 * mutate.BYTES_MAX)
"""Small, so that mutations meet them."""
APIS: Final[dict[str, ClientApi]] = {each.route: each for each in (chat.API, completions.API, embeddings.API, responses.API, messages.API)}
ROUTES: Final = {"chat": "chat/completions"}
ASKED: Final[dict[str, dict[str, Any]]] = {
    "chat/completions": {"messages": [{"role": "user", "content": "Hi"}]},
    "completions": {"prompt": "Hi"},
    "responses": {"input": "Hi"},
    "messages": {"max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]},
}


Dialects = Mapping[str, Callable[[Wire], Dialect]]


@dataclass(frozen=True)
class Outcome:
    """`error`: class, status, code and text; None for a clean end."""

    events: list[Event]
    error: tuple[str, int | None, str | None, str | None] | None


@dataclass
class Findings:
    mutations: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    kinds: set[str] = field(default_factory=set)
    slowest: float = 0.0

    def add(self, what: str, id: str, details: str) -> None:
        """One of each kind is told in full, all are counted."""
        self.counts["violations"] += 1
        self.counts[what] += 1
        if f"{what} {details}" not in self.kinds and len(self.kinds) < 200:
            self.kinds.add(f"{what} {details}")
            self.violations.append(f"{id}: {what}: {details}")


class Hung(BaseException):
    """Not an Exception, so that nothing takes it for one of its own."""


class Fuzz:
    """`hang_seconds`: 0 where somebody else breaks a hang; `dialects` may be others under the same names."""

    def __init__(self, seed: int, *, hang_seconds: int = 0, dialects: Dialects = DIALECTS) -> None:
        self._seed, self._hang_seconds = seed, hang_seconds
        self._wire = Tapes(BOUNDS)
        self._dialects: dict[str, Dialect] = {name: build(self._wire) for name, build in dialects.items()}
        self._answers = answers()
        self._kin = {each.id: [other for other in self._answers if other.dialect == each.dialect] for each in self._answers}
        self._requests = [(api, raw) for api, each in requests().items() for raw in each]
        self._tokenizer = tokenizer("o200k_base")
        self.found = Findings()

    async def run(self, count: int, *, first: int = 0) -> None:
        """Mutations `first` to `first + count`: what each one is depends on the seed and its number alone."""
        for number in range(first, first + count):
            rng = random.Random(f"{self._seed} {number}")
            id, began = f"{number}", time.thread_time()
            if self._hang_seconds:
                signal.setitimer(signal.ITIMER_REAL, self._hang_seconds)
            try:
                await self._one(rng, id)
            except Hung:
                self.found.add("hang", id, f"no end within {HANG_SECONDS} s")
            except Exception as error:  # noqa: BLE001 - what this program looks for
                self.found.add("crash", id, _place_of(error))
            took = time.thread_time() - began
            self.found.slowest = max(self.found.slowest, took)
            if took > SLOW_SECONDS:
                self.found.add("slow", id, f"more than {SLOW_SECONDS} s")
            self.found.mutations += 1

    async def _one(self, rng: random.Random, id: str) -> None:
        if rng.random() < 0.35:
            api, raw = rng.choice(self._requests)
            await self._asked(rng, api, mutate.request(rng, raw))
            return
        recorded = rng.choice(self._answers)
        if recorded.end is not None and rng.random() < 0.08:
            await self._cut(rng, id, recorded)
            return
        await self._answered(rng, id, recorded, mutate.answer(rng, recorded, self._kin[recorded.id]))

    # Answers

    async def _cut(self, rng: random.Random, id: str, recorded: Recorded) -> None:
        raw = recorded.bytes()[: rng.randrange(recorded.end_at)]
        self.found.counts["cut short"] += 1
        if (await self._read(recorded, _pieces(rng, raw))).error is None:
            self.found.add("a cut ends cleanly", id, f"{recorded.id}, {len(raw)} bytes")

    async def _answered(self, rng: random.Random, id: str, recorded: Recorded, raw: bytes) -> None:
        whole = await self._read(recorded, [raw])
        cut = [_pieces(rng, raw)]
        if rng.random() < 0.05:
            cut.append([raw[at : at + 1] for at in range(len(raw))])
        for pieces in cut:
            again = await self._read(recorded, pieces)
            self.found.counts["read again in pieces"] += 1
            if again != whole:
                self.found.add(OTHERWISE, id, f"{recorded.id}: {_difference(whole, again)}")
        self.found.counts[f"{recorded.dialect}: " + ("clean ends" if whole.error is None else "errors")] += 1
        request = recorded.call.request
        if whole.error is None and recorded.status == 200 and request.stream and not _ended(whole, request, recorded.dialect, raw):
            self.found.add("a clean end without an end", id, recorded.id)
        if whole.events and rng.random() < 0.5:
            await self._told(rng, recorded.call, whole)

    async def _read(self, recorded: Recorded, pieces: list[bytes]) -> Outcome:
        self._wire.status, self._wire.pieces = recorded.status, pieces
        return await self._outcome(recorded.call)

    async def _outcome(self, call: Call) -> Outcome:
        events: list[Event] = []
        try:
            async for batch in self._dialects[call.endpoint.provider.dialect].stream(call):
                events += batch
        except ProviderError as error:
            text = error.detail.reveal() if error.detail else None
            return Outcome(events, (f"{type(error).__name__} {error.summary}", error.status, error.code, text))
        return Outcome(events, None)

    async def _told(self, rng: random.Random, call: Call, outcome: Outcome) -> None:
        """As the pipeline does it: counted, labelled, written; a broken answer ends in that API's error."""
        embeds = call.request.operation == "embeddings"
        route = "embeddings" if embeds else rng.choice(list(ASKED))
        body = {"model": "a/b", "input": ["a", "b"]} if embeds else {"model": "a/b", "stream": call.request.stream, **ASKED[route]}
        asked = APIS[route].parse(msgspec.json.encode(body), {})
        writer = Writer(_nowhere)
        reply = asked.reply(writer)
        meter = Meter(self._tokenizer, tokens_max=100, tokens_limit=200, prompt_tokens_max=100)
        labels = Labels(generation_id="gen-1", created=0, endpoint=call.endpoint, request=call.request)
        try:
            for event in outcome.events:
                meter.see(event)
                labels.put(event)
                if event["choices"]:
                    await reply.events([event])
            usage, _ = meter.usage(10, whole=outcome.error is None)
            if outcome.error is None:
                due = cost(payable(usage, call.endpoint.price), call.endpoint.price)
                receipt = usage_object(usage, due, charge=due.charge, held=due.charge, source="provider")
                await reply.finish(receipt, labels.chunk([]), None)
            else:
                await reply.fail(problem(ProviderError("x")), _broken(labels))
        except ProviderError:
            await reply.fail(problem(ProviderError("x")), _broken(labels))
        self.found.counts[f"told as {route}"] += 1

    # Requests

    async def _asked(self, rng: random.Random, api: str, raw: bytes) -> None:
        """Understood, or refused with a status below 500."""
        route = ROUTES.get(api, api)
        try:
            asked = messages_body.parse(raw, {}, counting=True).request if api == "count" else _request(APIS[route].parse(raw, {}))
        except Exception as error:
            if problem(error).status >= 500:
                raise
            self.found.counts[f"{api}: refused"] += 1
            return
        self.found.counts[f"{api}: understood"] += 1
        dialect = rng.choice(list(DIALECTS))
        if asked.operation == "embeddings" and dialect not in EMBEDDERS:
            return
        call = asking(dialect, asked, rng.choice(("some-model", "gemini-3-flash", "claude-opus-4-7")))
        prompt.reported_max(asked, call.endpoint)
        self._wire.status, self._wire.pieces = 500, [b"{}"]
        if dialect == "echo":
            call = msgspec.structs.replace(call, max_tokens=20)
        await self._outcome(call)
        self.found.counts[f"said to {dialect}"] += 1


def _broken(labels: Labels) -> Event:
    nothing = Usage()
    return {**labels.broken(), "usage": usage_object(nothing, Cost(0, 0, 0, ()), charge=0, held=0, source="counted")}


def _request(asked: Asked) -> ChatRequest:
    return asked.request


async def _nowhere(message: dict[str, Any]) -> None:
    pass


def _pieces(rng: random.Random, raw: bytes) -> list[bytes]:
    cuts = sorted(rng.randrange(len(raw) + 1) for _ in range(rng.randint(1, 12)))
    return [raw[first:last] for first, last in zip([0, *cuts], [*cuts, len(raw)], strict=True)]


def _ended(outcome: Outcome, request: ChatRequest, dialect: str, raw: bytes) -> bool:
    """OpenAI's word for it counts without finish reasons, and so does a whole JSON document in place of a stream."""
    choices = [choice for event in outcome.events for choice in event["choices"]]
    ended = {choice.get("index", 0) for choice in choices if choice.get("finish_reason")}
    whole = dialect == "openai" and (b"[DONE]" in raw or raw.lstrip().startswith(b"{"))
    return whole or ended >= set(range(request.n))


def _place_of(error: Exception) -> str:
    """The class and the last lines of our own code, without the text."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if "/tests/" not in frame.filename and "/lib/" not in frame.filename
    ]
    lines = " < ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in reversed(frames[-3:]))
    return f"{type(error).__name__} at {lines}"


def _difference(one: Outcome, two: Outcome) -> str:
    if one.error != two.error:
        return f"{one.error and one.error[0]} or {two.error and two.error[0]}"
    return "other events"


def _hang(number: int, frame: FrameType | None) -> None:
    raise Hung


def resident_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def fuzz(count: int, seed: int, *, first: int = 0) -> Findings:
    """In the main thread: a hang is broken by an alarm."""
    work = Fuzz(seed, hang_seconds=HANG_SECONDS)
    before = signal.signal(signal.SIGALRM, _hang)
    try:
        asyncio.run(work.run(count, first=first))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return work.found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="the number of one mutation")
    scorecard.option(parser)
    wanted = parser.parse_args()
    start, count = time.monotonic(), 1 if wanted.only is not None else wanted.mutations
    fuzz(min(count, 2000), wanted.seed)  # so that what is loaded once does not count as growth
    before = resident_mib()
    found = fuzz(count, wanted.seed, first=wanted.only or 0)
    grown = resident_mib() - before
    if grown > MEMORY_MIB_MAX:
        found.add("memory", "-", f"more than {MEMORY_MIB_MAX} MiB")
    figures = _figures(found, grown, time.monotonic() - start)
    print("\n".join([*(f"{name}: {value}" for name, value in figures.items()), *found.violations[:60]]))
    if wanted.scorecard:
        scorecard.write("Fuzz", figures, seed=wanted.seed)
    return 1 if found.violations else 0


def _figures(found: Findings, grown: int, elapsed: float) -> dict[str, str]:
    counts = found.counts
    read = {name: f"{counts[f'{name}: errors']:,} errors, {counts[f'{name}: clean ends']:,} clean ends" for name in KNOWN}
    asked = {api: f"{counts[f'{api}: understood']:,} understood, {counts[f'{api}: refused']:,} refused" for api in requests()}
    clean, torn = counts["a cut ends cleanly"] + counts["a clean end without an end"], counts["cut short"]
    return {
        "Mutations": f"{found.mutations:,}",
        "Crashes, hangs, growth": f"{sum(counts[kind] for kind in ('crash', 'hang', 'slow', 'memory'))}",
        "Differences by chunking": f"{counts[OTHERWISE]} in {counts['read again in pieces']:,} second readings",
        "Streams that ended cleanly without their end": f"{clean} ({torn:,} were recorded ones cut short)",
        **{f"Answers of {name}": told for name, told in read.items()},
        **{f"Requests of {api}": told for api, told in asked.items()},
        "Told to clients": f"{sum(number for name, number in counts.items() if name.startswith('told as ')):,}",
        "Slowest": f"{found.slowest * 1000:.0f} ms of CPU",
        "Memory": f"{grown} MiB grown",
        "Duration": scorecard.seconds(elapsed),
    }


if __name__ == "__main__":
    sys.exit(main())
