"""The short form of `make prove-fuzz`: thousands of wrong answers and requests, and that the fuzz would see what it looks for."""

import asyncio
import json
from collections.abc import Callable

import pytest

from gateway.api.chat_body import parse
from providers.errors import RequestRefused
from providers.gemini_errors import error_of
from providers.openai import OpenAIDialect
from providers.openai_request import fitted
from providers.provider import Call, Dialect, Events
from providers.registry import DIALECTS
from providers.sse import EventSplitter, EventTooLarge
from providers.wire import Wire
from tests.prove.fuzz import Findings, Fuzz, Outcome
from tests.prove.recorded import Recorded, answers, asking

MUTATIONS = 4000
RECORDED = {each.id: each for each in answers()}


def found(count: int, openai: Callable[[Wire], Dialect] = OpenAIDialect) -> Findings:
    work = Fuzz(11, dialects={**DIALECTS, "openai": openai})
    asyncio.run(work.run(count))
    return work.found


def test_no_mutation_crashes_a_parser_or_is_read_otherwise_when_it_is_cut_otherwise() -> None:
    seen = found(MUTATIONS)
    assert seen.violations == []
    assert seen.mutations == MUTATIONS
    for dialect in ("openai", "anthropic", "gemini", "bedrock"):
        assert seen.counts[f"{dialect}: errors"] > 100
        assert seen.counts[f"{dialect}: clean ends"] > 20
    for api in ("chat", "completions", "embeddings", "responses", "messages", "count"):
        assert min(seen.counts[f"{api}: understood"], seen.counts[f"{api}: refused"]) > 10


class Credulous(OpenAIDialect):
    """Takes every end of the bytes for an end."""

    async def stream(self, call: Call) -> Events:
        response = await self._wire.post("http://example.com", headers={}, body=b"")
        await response.body()
        yield []


class Careless(Credulous):
    async def stream(self, call: Call) -> Events:
        async for _ in super().stream(call):
            raise KeyError("choices")
        yield []


class Hasty(Credulous):
    """Makes an event of each read."""

    async def stream(self, call: Call) -> Events:
        response = await self._wire.post("http://example.com", headers={}, body=b"")
        while await response.read() is not None:
            yield [{"choices": []}]


@pytest.mark.parametrize(
    ("dialect", "kinds"),
    [
        (Credulous, {"a cut ends cleanly", "a clean end without an end"}),
        (Careless, {"crash"}),
        (Hasty, {"cut otherwise, read otherwise"}),
    ],
)
def test_the_fuzz_sees_what_it_looks_for(dialect: Callable[[Wire], Dialect], kinds: set[str]) -> None:
    seen = found(400, dialect)
    assert {kind for kind in kinds if seen.counts[kind]} == kinds


@pytest.mark.parametrize("name", RECORDED)
def test_what_the_fuzz_starts_from_is_right(name: str) -> None:
    recorded: Recorded = RECORDED[name]
    outcome = asyncio.run(Fuzz(1)._read(recorded, [recorded.bytes()]))
    assert (outcome.error is None) == (recorded.end is not None)


# What it found


@pytest.mark.parametrize("name", [each for each in RECORDED if each.endswith("for a stream")])
def test_blanks_before_a_whole_answer_to_a_streamed_request_may_come_alone(name: str) -> None:
    recorded = RECORDED[name]

    async def read(*pieces: bytes) -> Outcome:
        return await Fuzz(1)._read(recorded, list(pieces))

    whole = asyncio.run(read(b" \r\n" + recorded.bytes()))
    assert (whole.error, bool(whole.events)) == (None, True)
    assert asyncio.run(read(b" ", b"\r\n", recorded.bytes())) == whole


def test_a_refusal_of_geminis_whose_status_is_no_text_is_still_a_refusal() -> None:
    error = error_of(400, {"error": {"code": 400, "message": "no", "status": ["INVALID_ARGUMENT"]}})
    assert (type(error), error.code) == (RequestRefused, None)


def test_thoughts_of_no_known_format_are_the_providers_own() -> None:
    details = [{"type": "reasoning.text", "text": "Hm.", "format": ["x"]}]
    body = json.dumps({"model": "a/b", "messages": [{"role": "assistant", "content": "a", "reasoning_details": details}]}).encode()
    sent = fitted(dict(parse(body).body.reveal()), asking("openai", parse(body)))
    assert sent["messages"][0]["reasoning_details"] == details


def test_events_before_one_that_is_too_large_count_however_they_are_cut() -> None:
    splitter = EventSplitter(20)
    with pytest.raises(EventTooLarge) as caught:
        splitter.feed(b"data: one\n\ndata: " + b"x" * 20)
    assert caught.value.before.reveal() == [b"one"]
    assert "b'one'" not in f"{caught.value} {caught.value!r} {vars(caught.value)}"
