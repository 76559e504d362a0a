"""What the gemini dialect sends: messages, media, tools, signatures and parameters in the words of Google, and what it could not keep."""

from typing import Any

import pytest

from policy.parameters import supported
from providers.errors import Inexpressible
from providers.gemini_request import payload
from tests.providers.gemini_sent import PNG, asked, call, result, sent, user

# Messages


def test_instructions_stand_apart_and_neighbours_of_one_role_are_one_turn() -> None:
    body = sent(
        {"role": "system", "content": "Be brief."},
        user("One"),
        user([{"type": "text", "text": "Two"}, {"type": "text", "text": ""}]),
        {"role": "assistant", "content": "Three"},
        {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Four"}]},
        user("Five"),
    )
    assert body == {
        "systemInstruction": {"parts": [{"text": "Be brief."}, {"text": "Be kind."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "One"}, {"text": "Two"}]},
            {"role": "model", "parts": [{"text": "Three"}, {"text": "Four"}]},
            {"role": "user", "parts": [{"text": "Five"}]},
        ],
    }


def test_instructions_alone_are_what_the_user_says() -> None:
    assert sent({"role": "system", "content": "Say hi."}) == {"contents": [{"role": "user", "parts": [{"text": "Say hi."}]}]}


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            {"inlineData": {"mimeType": "image/png", "data": PNG}},
        ),
        ({"type": "input_audio", "input_audio": {"data": PNG, "format": "mp3"}}, {"inlineData": {"mimeType": "audio/mp3", "data": PNG}}),
        ({"type": "input_audio", "input_audio": {"data": PNG, "format": "wav"}}, {"inlineData": {"mimeType": "audio/wav", "data": PNG}}),
        (
            {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PNG}"}},
            {"inlineData": {"mimeType": "application/pdf", "data": PNG}},
        ),
        (
            {"type": "file", "file": {"file_data": f"data:video/mp4;base64,{PNG}"}},
            {"inlineData": {"mimeType": "video/mp4", "data": PNG}},
        ),
        (
            {"type": "video_url", "video_url": {"url": "https://example.com/film.mov"}},
            {"fileData": {"fileUri": "https://example.com/film.mov", "mimeType": "video/quicktime"}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://example.com/a.b/cat.JPG?w=1#x"}},
            {"fileData": {"fileUri": "https://example.com/a.b/cat.JPG?w=1#x", "mimeType": "image/jpeg"}},
        ),
        (
            {"type": "file", "file": {"file_data": "gs://bucket/report.pdf"}},
            {"fileData": {"fileUri": "gs://bucket/report.pdf", "mimeType": "application/pdf"}},
        ),
        (
            {"type": "file", "file": {"file_data": "https://www.youtube.com/watch?v=9hE5-98ZeCg"}},
            {"fileData": {"fileUri": "https://www.youtube.com/watch?v=9hE5-98ZeCg"}},
        ),
    ],
)
def test_media_go_inline_or_by_reference_with_their_type(part: dict[str, Any], expected: dict[str, Any]) -> None:
    body = sent(user([{"type": "text", "text": "Look:"}, part]))
    assert body["contents"] == [{"role": "user", "parts": [{"text": "Look:"}, expected]}]


@pytest.mark.parametrize(
    ("messages", "place"),
    [
        ([user([{"type": "text", "text": "x"}, {"type": "video", "video": {}}])], "messages[0].content[1]"),
        ([user(), user([{"type": "file", "file": {"file_id": "file-1"}}])], "messages[1].content[0]"),
        ([user([{"type": "image_url", "image_url": {"url": "https://example.com/cat"}}])], "messages[0].content[0]"),
        ([user([{"type": "image_url", "image_url": {"url": "https://example.com"}}])], "messages[0].content[0]"),
        ([user([{"type": "image_url", "image_url": {"url": "http://example.com/cat.png"}}])], "messages[0].content[0]"),
        ([user([{"type": "image_url", "image_url": {"url": "file:///etc/passwd.png"}}])], "messages[0].content[0]"),
        ([{"role": "system", "content": [{"type": "image_url", "image_url": {"url": "https://a.b/c.png"}}]}], "messages[0].content[0]"),
        ([user(), result("42")], "messages[1].tool_call_id"),
        ([user(), {"role": "tool", "content": "42"}], "messages[1].tool_call_id"),
        ([user(), {"role": "function", "name": "f", "content": "42"}], "messages[1].role"),
        ([user(), {"role": "assistant", "tool_calls": [asked(arguments="[1]")]}], "messages[1].tool_calls[0].function.arguments"),
        ([user(), {"role": "assistant", "tool_calls": [{"id": "1", "type": "custom", "custom": {}}]}], "messages[1].tool_calls[0]"),
    ],
)
def test_what_has_no_words_is_refused_by_its_place(messages: list[dict[str, Any]], place: str) -> None:
    with pytest.raises(Inexpressible) as caught:
        payload(call({"messages": messages}))
    assert caught.value.param == place
    assert "example.com" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0]"),
        ({"functions": [{"name": "x"}]}, "functions"),
        ({"modalities": ["text", "audio"]}, "modalities"),
    ],
)
def test_fields_without_which_the_answer_would_be_another_are_refused(fields: dict[str, Any], place: str) -> None:
    with pytest.raises(Inexpressible) as caught:
        payload(call({"messages": [user()], **fields}))
    assert caught.value.param == place


# Tools


def test_parallel_calls_and_their_results_are_two_turns() -> None:
    calls = [asked("a"), asked("b", "add", '{"x":1}'), asked("c", "now", "")]
    body = sent(
        user(),
        {"role": "assistant", "content": "Let me see.", "tool_calls": calls},
        result('{"degrees": 21}', "a"),
        result("[1, 2]", "b"),
        result([{"type": "text", "text": "12345678901234567890"}], "c"),
        user("And?"),
    )
    assert body["contents"][1:] == [
        {
            "role": "model",
            "parts": [
                {"text": "Let me see."},
                {"functionCall": {"id": "a", "name": "lookup", "args": {"city": "Zürich"}}},
                {"functionCall": {"id": "b", "name": "add", "args": {"x": 1}}},
                {"functionCall": {"id": "c", "name": "now", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "a", "name": "lookup", "response": {"degrees": 21}}},
                {"functionResponse": {"id": "b", "name": "add", "response": {"result": [1, 2]}}},
                {"functionResponse": {"id": "c", "name": "now", "response": {"result": "12345678901234567890"}}},
                {"text": "And?"},
            ],
        },
    ]


@pytest.mark.parametrize("text", ["", "plain", "{torn", "[torn", '"quoted"', "true", "007"])
def test_a_result_that_is_no_object_is_put_into_one_as_it_is(text: str) -> None:
    body = sent(user(), {"role": "assistant", "tool_calls": [asked()]}, result(text))
    assert body["contents"][2]["parts"][0]["functionResponse"]["response"] == {"result": text}


def test_images_of_results_stand_behind_all_results() -> None:
    image = [{"type": "text", "text": "Here:"}, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}]
    said = {"role": "assistant", "tool_calls": [asked("a"), asked("b")]}
    for after in ((), (user("So?"),)):
        results = sent(user(), said, result(image, "a"), result("2", "b"), *after)["contents"][2]["parts"]
        assert [next(iter(part)) for part in results] == ["functionResponse", "functionResponse", "inlineData", *("text" for _ in after)]
        assert results[0]["functionResponse"]["response"] == {"result": "Here:"}


def test_tools_keep_their_json_schema() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"type": ["string", "null"]}}}
    tools = [
        {"type": "function", "function": {"name": "f", "description": "Does f.", "parameters": schema}},
        {"type": "function", "function": {"name": "g"}},
    ]
    declared = sent(user(), tools=tools)["tools"]
    assert declared == [{"functionDeclarations": [{"name": "f", "description": "Does f.", "parametersJsonSchema": schema}, {"name": "g"}]}]


TOOLS = [{"type": "function", "function": {"name": "f"}}]


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        ({"type": "function", "function": {"name": "f"}}, {"mode": "ANY", "allowedFunctionNames": ["f"]}),
    ],
)
def test_a_tool_choice_is_a_mode(choice: Any, config: dict[str, Any]) -> None:
    adjusted: list[str] = []
    assert sent(user(), tools=TOOLS, tool_choice=choice, adjusted=adjusted)["toolConfig"] == {"functionCallingConfig": config}
    assert adjusted == []


@pytest.mark.parametrize("choice", ["any", {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}, {"function": 1}])
def test_another_tool_choice_is_left_out_and_named(choice: Any) -> None:
    adjusted: list[str] = []
    assert "toolConfig" not in sent(user(), tools=TOOLS, tool_choice=choice, adjusted=adjusted)
    assert adjusted == ["tool_choice"]


# Parameters


def test_parameters_have_googles_names() -> None:
    adjusted: list[str] = []
    body = sent(
        user(),
        limit=50,
        adjusted=adjusted,
        max_tokens=99,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        presence_penalty=0.1,
        frequency_penalty=-0.1,
        seed=2**31 + 7,
        stop=["a", "b"],
        n=2,
        logprobs=True,
        top_logprobs=3,
        modalities=["text", "image"],
        response_format={"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": {"type": "object"}}},
    )
    assert body["generationConfig"] == {
        "maxOutputTokens": 50,
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 40,
        "presencePenalty": 0.1,
        "frequencyPenalty": -0.1,
        "seed": 7,
        "stopSequences": ["a", "b"],
        "candidateCount": 2,
        "responseLogprobs": True,
        "logprobs": 3,
        "responseModalities": ["TEXT", "IMAGE"],
        "responseMimeType": "application/json",
        "responseJsonSchema": {"type": "object"},
    }
    assert adjusted == []


@pytest.mark.parametrize(
    ("fields", "config"),
    [
        ({"stop": "x", "temperature": None, "n": 1, "logprobs": False}, {"stopSequences": ["x"]}),
        ({"response_format": {"type": "json_object"}}, {"responseMimeType": "application/json"}),
        ({"response_format": {"type": "text"}}, None),
        ({"max_completion_tokens": 99, "stream": True, "stream_options": {"include_usage": True}, "stop": []}, None),
    ],
)
def test_what_asks_for_nothing_sends_nothing(fields: dict[str, Any], config: dict[str, Any] | None) -> None:
    adjusted: list[str] = []
    assert sent(user(), adjusted=adjusted, **fields).get("generationConfig") == config
    assert adjusted == []


def test_what_is_left_out_is_named() -> None:
    adjusted: list[str] = []
    body = sent(
        user(),
        adjusted=adjusted,
        tools=[{"type": "function", "function": {"name": "f", "strict": True}}],
        parallel_tool_calls=False,
        logit_bias={"1": 2},
        min_p=0.1,
        verbosity="low",
        user="me",
        response_format={"type": "grammar"},
        **{"X-Secret": 1},
    )
    assert set(body) == {"contents", "tools"}
    assert sorted(adjusted) == ["logit_bias", "min_p", "other", "parallel_tool_calls", "response_format", "tools", "user", "verbosity"]


def test_parallel_calls_that_are_allowed_are_nothing_to_name() -> None:
    adjusted: list[str] = []
    sent(user(), tools=TOOLS, parallel_tool_calls=True, adjusted=adjusted)
    assert adjusted == []


def test_an_endpoint_supports_only_what_the_dialect_has_words_for() -> None:
    known = supported(call({"messages": []}).endpoint)
    assert {"temperature", "top_p", "seed", "stop", "max_tokens"} <= known
    assert not known & {"logit_bias", "min_p", "parallel_tool_calls"}
