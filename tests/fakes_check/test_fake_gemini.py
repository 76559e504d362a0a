"""The fake Gemini: what its answers look like and what it refuses, as Google's API does."""

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import pytest

from tests.fakes.faults import Json
from tests.fakes.gemini_checks import AS_MANY, CALLS_FIRST, UNSIGNED
from tests.fakes.process import Fake

NEW = "gemini-3-flash"
USER: Json = {"role": "user", "parts": [{"text": "Hello"}]}
CALL: Json = {"functionCall": {"id": "1", "name": "f", "args": {}}}
RESULT: Json = {"functionResponse": {"id": "1", "name": "f", "response": {}}}


def ask(
    fake: Fake, *contents: Json, model: str = "plain", method: str = "generateContent", key: str = "k", **fields: Any
) -> tuple[int, str]:
    body = json.dumps({"contents": list(contents) or [USER], **fields}).encode()
    url = f"{fake.address}/v1beta/models/{urllib.parse.quote(model, safe='')}:{method}"
    request = urllib.request.Request(url, data=body, headers={"x-goog-api-key": key} if key else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_an_answer_and_its_book(fake: Fake) -> None:
    status, text = ask(fake)
    answer = json.loads(text)
    assert status == 200
    assert answer["candidates"] == [
        {"content": {"role": "model", "parts": [{"text": "Hello from plain."}]}, "finishReason": "STOP", "index": 0}
    ]
    assert answer["usageMetadata"] == {"promptTokenCount": 4, "candidatesTokenCount": 3, "totalTokenCount": 7}
    [row] = fake.ledger("plain")
    assert (row["billed_tokens"]["prompt_tokens"], row["billed_tokens"]["completion_tokens"]) == (4, 3)


def test_a_stream_ends_with_the_finish_and_the_usage_in_one_event(fake: Fake) -> None:
    _, text = ask(fake, method="streamGenerateContent?alt=sse")
    events = [json.loads(line[6:]) for line in text.split("\n") if line]
    assert [event["candidates"][0]["content"]["parts"] for event in events] == [
        [{"text": word}] for word in ("Hello", " from", " plain.")
    ] + [[]]
    assert ("usageMetadata" in events[-1], events[-1]["candidates"][0]["finishReason"]) == (True, "STOP")
    [row] = fake.settled("plain")
    assert (row["outcome"], row["billed_tokens"]["completion_tokens"]) == ("served", 3)


@pytest.mark.parametrize(
    ("contents", "complaint"),
    [
        ([{"role": "assistant", "parts": [{"text": "x"}]}], "valid role"),
        ([USER, USER], "alternate between user and model"),
        ([{"role": "model", "parts": [CALL]}], CALLS_FIRST),
        ([USER, {"role": "model", "parts": [CALL]}, USER], AS_MANY),
        ([USER, {"role": "model", "parts": [{"text": "x"}]}, {"role": "user", "parts": [RESULT]}], AS_MANY),
        ([USER, {"role": "model", "parts": [CALL, CALL]}, {"role": "user", "parts": [RESULT]}], AS_MANY),
        ([{"role": "user", "parts": []}], "must not be empty"),
        ([{"role": "user", "parts": [{"text": "x", "other": 1}]}], 'Unknown name \\"other\\"'),
        ([{"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": "?"}}]}], "Base64"),
        ([{"role": "user", "parts": [{"text": "x", "thoughtSignature": "eA=="}]}], "Corrupted thought signature"),
    ],
)
def test_turns_that_google_refuses(fake: Fake, contents: list[Json], complaint: str) -> None:
    status, text = ask(fake, *contents)
    assert (status, json.loads(text)["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert complaint in text


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": []},
        {"generationConfig": {"max_tokens": 1}},
        {"generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW", "thinkingBudget": 1}}},
        {"tools": [{"functionDeclarations": [{"name": "f", "strict": True}]}]},
        {"toolConfig": {"functionCallingConfig": {"mode": "AUTO", "allowedFunctionNames": ["f"]}}},
    ],
)
def test_fields_that_google_refuses(fake: Fake, fields: dict[str, Json]) -> None:
    assert ask(fake, **fields)[0] == 400


def test_calls_without_a_signature_are_refused_by_new_models_only(fake: Fake) -> None:
    def turns(**signature: str) -> list[Json]:
        return [USER, {"role": "model", "parts": [{**CALL, **signature}]}, {"role": "user", "parts": [RESULT]}]

    assert ask(fake, *turns())[0] == 200
    status, text = ask(fake, *turns(), model=NEW)
    assert (status, "missing a thought_signature" in text) == (400, True)
    assert ask(fake, *turns(thoughtSignature=UNSIGNED), model=NEW)[0] == 200


def test_a_key_is_needed_and_a_wrong_one_is_a_400_with_its_reason(fake: Fake) -> None:
    assert ask(fake, key="")[0] == 403
    status, text = ask(fake, model="needs-key")
    assert (status, json.loads(text)["error"]["details"][0]["reason"]) == (400, "API_KEY_INVALID")
