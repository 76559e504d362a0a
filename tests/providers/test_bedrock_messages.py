"""Canonical messages as Converse takes them: turns, media, tool results, thoughts that go back, cache points, and what is refused where."""

import base64
from typing import Any

import pytest

from providers.bedrock_messages import BYTES_MAX
from tests.providers.bedrock_sent import CALL, FORMAT, LLAMA, LOOKUP, PNG, SONNET, USER, kept, refused, sent, turns

CACHE = {"type": "ephemeral"}
POINT = {"cachePoint": {"type": "default"}}
SIGNATURE = "c2lnbmVkLWJ5LXRoZS1mYWtl"
REDACTED = "cmVkYWN0ZWQtYnktdGhlLWZha2U="
PDF = f"data:application/pdf;base64,{base64.b64encode(b'%PDF-').decode()}"


def said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def words(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, **more}


def image(url: str, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}, **more}


def file(name: str | None, data: str) -> dict[str, Any]:
    return {"type": "file", "file": {"file_data": data, **({"filename": name} if name else {})}}


def result(text: Any, id: str = "call_1") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": text}


def called(*ids: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": [{**CALL, "id": id} for id in ids or ("call_1",)], **more}


def test_neighbours_of_one_role_are_one_turn() -> None:
    assert turns(USER, user(words("and"), words(" "), words("more")), said("Hi"), said("there"), USER) == [
        ("user", [{"text": "Hello"}, {"text": "and"}, {"text": "more"}]),
        ("assistant", [{"text": "Hi"}, {"text": "there"}]),
        ("user", [{"text": "Hello"}]),
    ]


def test_instructions_stand_apart() -> None:
    body, adjusted = sent({"role": "system", "content": "One."}, USER, {"role": "developer", "content": [words("Two.")]})
    assert body["system"] == [{"text": "One."}, {"text": "Two."}]
    assert adjusted == ["messages"]


def test_instructions_alone_are_the_users_words() -> None:
    body = kept({"role": "system", "content": "Say hi."})
    assert body["messages"] == [{"role": "user", "content": [{"text": "Say hi."}]}]
    assert "system" not in body


@pytest.mark.parametrize(("type", "format"), [("png", "png"), ("jpeg", "jpeg"), ("jpg", "jpeg"), ("gif", "gif"), ("webp", "webp")])
def test_an_image_is_its_bytes(type: str, format: str) -> None:
    [(_, content)] = turns(user(words("What is it?"), image(f"data:image/{type};base64,{PNG}")))
    assert content == [{"text": "What is it?"}, {"image": {"format": format, "source": {"bytes": PNG}}}]


@pytest.mark.parametrize(
    ("name", "data", "sent_name", "format"),
    [
        ("Q3 report (final)_v2.pdf", PDF, "Q3 report (final) v2", "pdf"),
        (None, PDF, "document", "pdf"),
        ("notes.md", PDF.replace("application/pdf", "application/octet-stream"), "notes", "md"),
        ("données.csv", PDF.replace("application/pdf", "text/csv"), "donn es", "csv"),
        ("a.json", PDF.replace("application/pdf", "application/json"), "a json", "txt"),
        ("x" * 500, PDF, "x" * 180, "pdf"),
    ],
)
def test_a_file_is_a_document_with_a_name_that_is_allowed(name: str | None, data: str, sent_name: str, format: str) -> None:
    [(_, content)] = turns(user(words("Read this."), file(name, data)))
    assert content[1]["document"]["format"] == format
    assert content[1]["document"]["name"] == sent_name


def test_documents_have_different_names() -> None:
    [(_, content)] = turns(user(words("Compare."), file("a.pdf", PDF), file("a.pdf", PDF), file(None, PDF)))
    assert [block["document"]["name"] for block in content[1:]] == ["a", "a 2", "document"]


def test_an_image_in_a_file_is_an_image() -> None:
    [(_, content)] = turns(user(words("Look."), file("a.png", f"data:image/png;base64,{PNG}")))
    assert content[1] == {"image": {"format": "png", "source": {"bytes": PNG}}}


LARGE = base64.b64encode(b"x" * (BYTES_MAX["image"] + 1)).decode()
REFUSED: dict[str, tuple[list[Any], str]] = {
    "an image behind a URL": ([user(image("https://example.com/a.png"))], "messages[0].content[0]"),
    "an image in another coding": ([user(image("data:image/svg+xml,<svg/>"))], "messages[0].content[0]"),
    "an image of another kind": ([user(words("a"), image(f"data:image/bmp;base64,{PNG}"))], "messages[0].content[1]"),
    "an image that is too large": ([user(image(f"data:image/png;base64,{LARGE}"))], "messages[0].content[0]"),
    "a file of another kind": ([user(words("a"), file("a.zip", "data:application/zip;base64,AAAA"))], "messages[0].content[1]"),
    "a file elsewhere": ([user(words("a"), {"type": "file", "file": {"file_id": "file-1"}})], "messages[0].content[1]"),
    "a file alone": ([user(file("a.pdf", PDF))], "messages"),
    "sound": ([user({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}})], "messages[0].content[0]"),
    "a video": ([user({"type": "video_url", "video_url": {"url": "https://example.com"}})], "messages[0].content[0]"),
    "an image of the assistant": (
        [USER, {"role": "assistant", "content": [image(f"data:image/png;base64,{PNG}")]}],
        "messages[1].content[0]",
    ),
    "the assistant first": ([said("Hi"), USER], "messages[0].role"),
    "the old functions": ([USER, {"role": "function", "name": "f", "content": "x"}], "messages[1].role"),
    "a result without its call": ([USER, result("x")], "messages[1].tool_call_id"),
    "a result of an earlier turn": ([USER, called(), result("x"), said("ok"), USER, result("x")], "messages[5].tool_call_id"),
    "a result that comes too late": ([USER, called(), USER, said("ok"), USER, result("x")], "messages[5].tool_call_id"),
    "a result twice": ([USER, called(), result("x"), result("y")], "messages[3].tool_call_id"),
    "arguments that are no object": (
        [USER, {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": "[]"}}]}],
        "messages[1].tool_calls[0].function.arguments",
    ),
    "nothing at all": ([{"role": "user", "content": " "}], "messages"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_expressed_is_refused_with_its_place(name: str) -> None:
    messages, place = REFUSED[name]
    assert refused(*messages) == place


def test_calls_and_results_alternate() -> None:
    body = kept(USER, called("call_1", "call_2"), result("Sunny"), result([words("10"), words("degrees")], "call_2"), USER, tools=[LOOKUP])
    call, results = body["messages"][1:]
    arguments = {"name": "lookup", "input": {"city": "Bern"}}
    assert call["content"] == [{"toolUse": {"toolUseId": id, **arguments}} for id in ("call_1", "call_2")]
    assert results == {
        "role": "user",
        "content": [
            {"toolResult": {"toolUseId": "call_1", "content": [{"text": "Sunny"}]}},
            {"toolResult": {"toolUseId": "call_2", "content": [{"text": "10"}, {"text": "degrees"}]}},
            {"text": "Hello"},
        ],
    }


def test_an_empty_result_says_so_and_an_image_can_be_one() -> None:
    results = kept(USER, called(), result(""), tools=[LOOKUP])["messages"][2]["content"]
    assert results == [{"toolResult": {"toolUseId": "call_1", "content": [{"text": "(empty)"}]}}]
    results = kept(USER, called(), result([image(f"data:image/png;base64,{PNG}")]), tools=[LOOKUP])["messages"][2]["content"]
    assert results[0]["toolResult"]["content"] == [{"image": {"format": "png", "source": {"bytes": PNG}}}]


def test_ids_that_are_not_allowed_or_come_again_are_replaced_in_pairs() -> None:
    odd = "call with blanks " + "x" * 80
    body = kept(USER, called("call_1", odd), result("a"), result("b", odd), called("call_1"), result("c"), tools=[LOOKUP])
    calls = [block["toolUse"]["toolUseId"] for turn in body["messages"] for block in turn["content"] if "toolUse" in block]
    results = [block["toolResult"]["toolUseId"] for turn in body["messages"] for block in turn["content"] if "toolResult" in block]
    assert calls == results
    assert calls[0] == "call_1"
    assert len(set(calls)) == 3


# Thoughts


def thought(text: str, signature: str | None = SIGNATURE, index: int = 0) -> dict[str, Any]:
    detail = {"type": "reasoning.text", "text": text, "format": FORMAT, "index": index}
    return {**detail, "signature": signature} if signature else detail


HIDDEN = {"type": "reasoning.encrypted", "data": REDACTED, "format": FORMAT, "index": 1}
RESTORED = [
    {"reasoningContent": {"reasoningText": {"text": "Let me think.", "signature": SIGNATURE}}},
    {"reasoningContent": {"redactedContent": REDACTED}},
]


@pytest.mark.parametrize(
    "details",
    [
        [thought("Let me think."), HIDDEN],
        [thought("Let me ", None), thought("think.", None), thought("", SIGNATURE), HIDDEN],
        [thought("Let me think."), HIDDEN, thought("unsigned", None, 2), {"type": "reasoning.summary", "summary": "x"}],
        [{**HIDDEN, "format": "google-gemini-v1"}, thought("Let me think."), HIDDEN, "rubbish", None],
    ],
)
def test_thoughts_go_back_as_they_came(details: list[Any]) -> None:
    body = kept(USER, called(reasoning="Let me think.", reasoning_details=details), result("x"), tools=[LOOKUP], reasoning_effort="low")
    assert body["messages"][1]["content"][:-1] == RESTORED


def test_thoughts_go_to_no_other_model() -> None:
    body = kept(USER, called(reasoning_details=[thought("x")]), result("x"), tools=[LOOKUP], model=LLAMA)
    assert [list(block) for block in body["messages"][1]["content"]] == [["toolUse"]]


def test_a_budget_is_not_used_where_earlier_thoughts_are_lost() -> None:
    body, adjusted = sent(USER, called(), result("x"), tools=[LOOKUP], reasoning_effort="low")
    assert "additionalModelRequestFields" not in body
    assert adjusted == ["reasoning_effort"]


# Caches and prefill


def test_a_cache_is_marked_after_what_it_holds() -> None:
    body = kept(
        {"role": "system", "content": [words("Long.", cache_control=CACHE)]},
        user(words("a", cache_control=CACHE), image(f"data:image/png;base64,{PNG}", cache_control=CACHE)),
        called(),
        {**result("x"), "cache_control": CACHE},
        tools=[LOOKUP],
    )
    assert body["system"] == [{"text": "Long."}, POINT]
    assert body["messages"][0]["content"][1] == POINT
    assert body["messages"][0]["content"][3] == {"cachePoint": {"type": "default"}}
    assert body["messages"][2]["content"][1] == POINT


def test_a_model_without_a_cache_gets_no_mark() -> None:
    body, adjusted = sent(user(words("a", cache_control=CACHE)), model=LLAMA)
    assert body["messages"][0]["content"] == [{"text": "a"}]
    assert adjusted == ["cache_control"]


def test_words_to_go_on_with_end_in_no_blank() -> None:
    body, adjusted = sent(USER, said("The answer is "), model=SONNET)
    assert body["messages"][1]["content"] == [{"text": "The answer is"}]
    assert adjusted == ["messages"]


def test_names_of_speakers_are_named_as_left_out() -> None:
    assert sent({**USER, "name": "ann"})[1] == ["name"]
