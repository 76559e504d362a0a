"""The gemini dialect: recorded shapes of generateContent and its stream as canonical answers, and what was asked to get them."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from metering.usage import Usage, from_openai
from providers.errors import ProviderUnavailable
from providers.gemini_answer import Answer
from providers.provider import Event
from providers.sse import EventSplitter
from tests.providers.gemini_server import GENERATION, Server, answer, call, said, serving, sse

MADE_UP = "call_abcdefghij0123456789_0"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as running:
        yield running


def whole(*parts: dict[str, Any], finish: str = "STOP") -> dict[str, Any]:
    """The choice of an answer that is not streamed."""
    [choice] = Answer(GENERATION, 1).completion(said(*parts, finish=finish))["choices"]
    assert isinstance(choice, dict)
    return choice


# Recorded shapes: streamGenerateContent as Google's guides to thinking and to function calling show it

STREAM = [
    said({"text": "I add ", "thought": True}, usage={"promptTokenCount": 12, "totalTokenCount": 30, "thoughtsTokenCount": 18}),
    said({"text": "them up: é 漢 😀.", "thought": True}, usage={"promptTokenCount": 12, "totalTokenCount": 45, "thoughtsTokenCount": 33}),
    said({"text": "It is "}, usage={"promptTokenCount": 12, "candidatesTokenCount": 3, "totalTokenCount": 48, "thoughtsTokenCount": 33}),
    said(
        {"text": "5117."},
        {"functionCall": {"name": "save", "args": {"sum": 5117, "unit": "é"}}, "thoughtSignature": "c2ln"},
        {"functionCall": {"name": "log", "id": "fc-2"}},
        usage={"promptTokenCount": 12, "candidatesTokenCount": 20, "totalTokenCount": 65, "thoughtsTokenCount": 33},
    ),
    said(
        {"text": "", "thoughtSignature": "ZW5k"},
        finish="STOP",
        usage={
            "promptTokenCount": 12,
            "cachedContentTokenCount": 5,
            "candidatesTokenCount": 21,
            "toolUsePromptTokenCount": 2,
            "thoughtsTokenCount": 33,
            "totalTokenCount": 68,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 8}, {"modality": "AUDIO", "tokenCount": 4}],
            "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 4}, {"modality": "AUDIO", "tokenCount": 1}],
        },
    ),
]
JOINED: dict[str, Any] = {
    "content": "It is 5117.",
    "reasoning": "I add them up: é 漢 😀.",
    "tool_calls": [
        {"id": MADE_UP + "_0", "type": "function", "function": {"name": "save", "arguments": '{"sum":5117,"unit":"é"}'}},
        {"id": "fc-2", "type": "function", "function": {"name": "log", "arguments": "{}"}},
    ],
    "reasoning_details": [
        {"type": "reasoning.text", "text": "I add them up: é 漢 😀.", "format": "google-gemini-v1", "index": 0},
        {"type": "reasoning.encrypted", "data": "c2ln", "id": MADE_UP + "_0", "format": "google-gemini-v1", "index": 1},
        {"type": "reasoning.encrypted", "data": "ZW5k", "format": "google-gemini-v1", "index": 2},
    ],
    "finish_reason": "tool_calls",
    "native_finish_reason": "STOP",
}
USED = Usage(prompt=6, cached_prompt=5, audio=3, completion=21, reasoning=33)


def joined(events: list[Event]) -> dict[str, Any]:
    """What a client makes of the chunks: texts joined, details by their index, calls by theirs."""
    whole: dict[str, Any] = {"content": "", "reasoning": "", "tool_calls": [], "reasoning_details": []}
    for choice in (choice for event in events for choice in event["choices"]):
        delta = choice["delta"]
        whole["content"] += delta["content"]
        whole["reasoning"] += delta.get("reasoning", "")
        for made in delta.get("tool_calls", []):
            assert made["index"] == len(whole["tool_calls"])
            whole["tool_calls"].append({name: value for name, value in made.items() if name != "index"})
        for detail in delta.get("reasoning_details", []):
            known = [each for each in whole["reasoning_details"] if each["index"] == detail["index"]]
            if known:
                assert detail.keys() == {"type", "text", "index"}
                known[0]["text"] += detail["text"]
            else:
                whole["reasoning_details"].append(dict(detail))
        if choice["finish_reason"]:
            whole |= {name: choice[name] for name in ("finish_reason", "native_finish_reason")}
    return whole


async def test_a_stream_of_thoughts_text_and_calls_is_one_canonical_answer(server: Server) -> None:
    events = await answer(server, sse(*STREAM), call(server))
    assert joined(events) == JOINED
    assert from_openai(events[-1]["usage"]) == USED
    assert {event["id"] for event in events} == {"mAitaLmkHPPlz7IP"}
    assert all(from_openai(event["usage"]) for event in events)


@pytest.mark.parametrize("newline", ["\r\n", "\n", "\r"])
def test_every_cut_of_the_bytes_gives_the_same_events(newline: str) -> None:
    raw = sse(*STREAM).replace("\r\n", newline).encode()

    def read(*pieces: bytes) -> list[Event]:
        splitter, reader = EventSplitter(2**20), Answer(GENERATION, 1)
        events = [event for piece in pieces for frame in splitter.feed(piece) for event in reader.read(frame)]
        events += reader.last(splitter.rest())
        reader.check()
        return events

    expected = read(raw)
    assert joined(expected) == JOINED
    for at in range(len(raw) + 1):
        assert read(raw[:at], raw[at:]) == expected
    assert read(*(raw[at : at + 1] for at in range(len(raw)))) == expected


def test_a_whole_answer_says_the_same_as_its_stream() -> None:
    parts = [part for event in STREAM for part in event["candidates"][0]["content"]["parts"]]
    last = {**said(*parts, finish="STOP"), "usageMetadata": STREAM[-1]["usageMetadata"]}
    event = Answer(GENERATION, 1).completion(last)
    [choice] = event["choices"]
    message = choice.pop("message")
    assert message.pop("role") == "assistant"
    assert {**message, **choice} == {**JOINED, "index": 0}
    assert from_openai(event["usage"]) == USED


def test_a_message_of_calls_alone_has_no_content() -> None:
    assert whole({"functionCall": {"name": "f", "args": {}}})["message"]["content"] is None
    assert whole({"text": "Hi"})["message"] == {"role": "assistant", "content": "Hi"}
    assert whole()["message"] == {"role": "assistant", "content": ""}


def test_images_are_data_urls_and_drafts_of_them_are_left_out() -> None:
    image = {"inlineData": {"mimeType": "image/png", "data": "aGk="}}
    message = whole({"text": "Here:"}, {**image, "thought": True}, image)["message"]
    shown = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    assert message["images"] == [shown]
    reader = Answer(GENERATION, 1)
    deltas = [reader.chunk(said(image, image))["choices"][0]["delta"], reader.chunk(said(image))["choices"][0]["delta"]]
    assert [delta["images"] for delta in deltas] == [[{"index": 0, **shown}, {"index": 1, **shown}], [{"index": 2, **shown}]]
    assert [delta.get("role") for delta in deltas] == ["assistant", None]


def test_a_whole_answer_has_a_finish_reason_in_any_case() -> None:
    def finished(*parts: dict[str, Any]) -> object:
        return Answer(GENERATION, 1).completion(said(*parts))["choices"][0]["finish_reason"]

    assert (finished({"text": "a"}), finished({"functionCall": {"name": "f"}})) == ("stop", "tool_calls")


@pytest.mark.parametrize(
    "part",
    [
        {"executableCode": {"language": "PYTHON", "code": "1"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
        {"inlineData": {"mimeType": "audio/L16;rate=24000", "data": "aGk="}},
        {"inlineData": {"mimeType": "image/png;x=<", "data": "aGk="}},
        {"inlineData": "x"},
        {"fileData": {"fileUri": "gs://x"}},
        {"ofTomorrow": 1},
        {},
    ],
)
def test_parts_that_nobody_asked_for_are_left_out(part: dict[str, Any]) -> None:
    assert whole(part, {"text": "Hi"})["message"] == {"role": "assistant", "content": "Hi"}


@pytest.mark.parametrize(
    ("said_there", "ours"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("CONTINUATION", "length"),
        *((word, "content_filter") for word in ("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII")),
        *(
            (word, "content_filter")
            for word in ("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "MODEL_ARMOR", "ESCALATION")
        ),
        *((word, "error") for word in ("OTHER", "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "OF_TOMORROW")),
    ],
)
def test_a_finish_reason_keeps_its_own_word_beside_ours(said_there: str, ours: str) -> None:
    choice = whole({"text": "a"}, finish=said_there)
    assert (choice["finish_reason"], choice["native_finish_reason"]) == (ours, said_there)


def test_a_stop_after_calls_is_a_stop_for_calls_and_a_limit_stays_one() -> None:
    made = {"functionCall": {"name": "f"}}
    assert whole(made)["finish_reason"] == "tool_calls"
    assert whole(made, finish="MAX_TOKENS")["finish_reason"] == "length"


def test_log_probabilities_are_in_openais_shape() -> None:
    best, other = {"token": "é", "tokenId": 1, "logProbability": -0.25}, {"token": "b", "tokenId": 2, "logProbability": -2}
    event = said({"text": "é"}, finish="STOP")
    event["candidates"][0]["logprobsResult"] = {"chosenCandidates": [best], "topCandidates": [{"candidates": [best, other]}]}
    [choice] = Answer(GENERATION, 1).completion(event)["choices"]
    first = {"token": "é", "logprob": -0.25, "bytes": [195, 169]}
    tops = [first, {"token": "b", "logprob": -2, "bytes": [98]}]
    assert choice["logprobs"] == {"content": [{**first, "top_logprobs": tops}], "refusal": None}


async def test_several_candidates_are_several_choices(server: Server) -> None:
    events = [said({"text": "a"}, index=None), said({"text": "b"}, index=1), said(finish="STOP", index=1), said(finish="STOP", index=None)]
    seen = await answer(server, sse(*events), call(server, n=2))
    assert [(choice["index"], choice["delta"]["content"]) for event in seen for choice in event["choices"]] == [
        (0, "a"),
        (1, "b"),
        (1, ""),
        (0, ""),
    ]
    with pytest.raises(ProviderUnavailable):
        await answer(server, sse(*events[:3]), call(server, n=2))


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        ({"promptTokenCount": 7}, Usage(prompt=7)),
        ({"promptTokenCount": 7, "candidatesTokenCount": None, "thoughtsTokenCount": 3}, Usage(prompt=7, reasoning=3)),
        (
            {"promptTokenCount": 7, "candidatesTokenCount": 2, "totalTokenCount": 12, "thoughtsTokenCount": 3},
            Usage(prompt=7, completion=2, reasoning=3),
        ),
        ({"promptTokenCount": 7, "promptTokensDetails": [{"modality": "IMAGE", "tokenCount": 5}, {}, 1]}, Usage(prompt=7)),
        ({"promptTokenCount": 7, "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 50}]}, Usage(audio=7)),
        *(
            (reported, None)
            for reported in ({}, [], "x", 7, {"promptTokenCount": "7"}, {"promptTokenCount": 7.0}, {"promptTokenCount": True})
        ),
        ({"promptTokenCount": -7}, None),
        ({"promptTokenCount": 7, "candidatesTokenCount": 10**30}, None),
    ],
)
def test_usage_is_what_google_reports_or_nothing(reported: Any, expected: Usage | None) -> None:
    event = Answer(GENERATION, 1).chunk({**said({"text": "a"}), "usageMetadata": reported})
    assert from_openai(event.get("usage")) == expected


# What is sent


async def test_the_method_stands_in_the_path_and_the_key_in_its_header(server: Server) -> None:
    body = sse(said({"text": "a"}, finish="STOP"))
    await answer(server, body, call(server))
    await answer(server, json.dumps(said({"text": "a"}, finish="STOP")), call(server, stream=False))
    [(streamed, headers, _), (plain, _, _)] = server.sent
    assert streamed == "POST /prefix/v1beta/models/tuned%2Ffast%201:streamGenerateContent?alt=sse HTTP/1.1"
    assert plain == "POST /prefix/v1beta/models/tuned%2Ffast%201:generateContent HTTP/1.1"
    assert headers["x-goog-api-key"] == "the-key"
    assert headers.keys() == {"host", "content-length", "content-type", "accept", "accept-encoding", "user-agent", "x-goog-api-key"}
