"""Messages for Anthropic: turns and blocks as its API documents them, and the places that are named where there are no words."""

import base64
from typing import Any

import pytest

from tests.providers.anthropic_sent import CALL, CLAUDE, LOOKUP, PNG, THOUGHT, USER, blocks, refused, sent, text


def test_instructions_stand_apart_as_one_text() -> None:
    body, _ = sent({"role": "system", "content": "One."}, {"role": "developer", "content": [text("Two.")]}, USER)
    assert body["system"] == "One.\n\nTwo."


def test_instructions_with_a_cache_mark_keep_it_as_blocks() -> None:
    body, _ = sent({"role": "system", "content": [text("One."), text("Two.", cache_control={"type": "ephemeral"}), text(" ")]}, USER)
    assert body["system"] == [text("One."), text("Two.", cache_control={"type": "ephemeral"})]


def test_instructions_in_the_middle_move_to_the_front_and_are_named() -> None:
    body, adjusted = sent(USER, {"role": "system", "content": "Late."})
    assert (body["system"], adjusted) == ("Late.", ["messages"])


def test_messages_of_one_role_become_one_turn_and_blanks_are_left_out() -> None:
    said = blocks(USER, {"role": "user", "content": [text("again"), text(" \n")]}, {"role": "assistant", "content": "  "}, USER)
    assert said == [("user", [text("Hello"), text("again"), text("Hello")])]


def test_cache_marks_stay_on_their_blocks() -> None:
    mark = {"type": "ephemeral"}
    said = blocks({"role": "user", "content": [text("long", cache_control={**mark, "odd": 1}), text("short")]})
    assert said == [("user", [text("long", cache_control=mark), text("short")])]
    assert blocks({**USER, "cache_control": mark}) == [("user", [text("Hello", cache_control=mark)])]


@pytest.mark.parametrize("alias", ["image/jpeg", "image/jpg"])
def test_images_come_as_data_or_by_url(alias: str) -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": f"data:{alias};base64,{PNG}", "detail": "low"}},
        {"type": "image_url", "image_url": "https://example.com/a.png"},
    ]
    assert blocks({"role": "user", "content": parts}) == [
        (
            "user",
            [
                {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": PNG}},
                {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
            ],
        )
    ]


def test_files_become_documents() -> None:
    def file(data: str) -> Any:
        return {"type": "file", "file": {"filename": "a.txt", "file_data": data}}

    parts = [
        file(f"data:application/pdf;base64,{PNG}"),
        file("https://example.com/a.pdf"),
        file(f"data:text/csv;base64,{base64.b64encode('é'.encode()).decode()}"),
        file(f"data:image/png;base64,{PNG}"),
    ]
    [(_, content)] = blocks({"role": "user", "content": parts})
    assert [block["source"] for block in content] == [
        {"type": "base64", "media_type": "application/pdf", "data": PNG},
        {"type": "url", "url": "https://example.com/a.pdf"},
        {"type": "text", "media_type": "text/plain", "data": "é"},
        {"type": "base64", "media_type": "image/png", "data": PNG},
    ]
    assert [(block["type"], block.get("title")) for block in content] == [*[("document", "a.txt")] * 3, ("image", None)]


def test_calls_and_their_results_alternate_with_the_results_first() -> None:
    other = {"id": "call_2", "type": "function", "function": {"name": "lookup", "arguments": ""}}
    said = blocks(
        USER,
        {"role": "assistant", "content": "Let me see.", "tool_calls": [CALL, other]},
        {"role": "tool", "tool_call_id": "call_2", "content": "none"},
        {"role": "user", "content": "Hurry."},
        {
            "role": "tool",
            "tool_call_id": "call_1",
            "content": [text("rain"), {"type": "image_url", "image_url": "https://example.com/a.png"}],
        },
        tools=[LOOKUP],
    )
    assert said[1:] == [
        (
            "assistant",
            [
                text("Let me see."),
                {"type": "tool_use", "id": "call_1", "name": "lookup", "input": {"city": "Bern"}},
                {"type": "tool_use", "id": "call_2", "name": "lookup", "input": {}},
            ],
        ),
        (
            "user",
            [
                {"type": "tool_result", "tool_use_id": "call_2", "content": [text("none")]},
                {
                    "type": "tool_result",
                    "tool_use_id": "call_1",
                    "content": [text("rain"), {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}],
                },
                text("Hurry."),
            ],
        ),
    ]


def test_a_result_may_be_empty_and_its_cache_mark_stands_on_the_result() -> None:
    mark = {"type": "ephemeral"}
    turn = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    empty = blocks(USER, turn, {"role": "tool", "tool_call_id": "call_1", "content": ""}, tools=[LOOKUP])
    assert empty[-1] == ("user", [{"type": "tool_result", "tool_use_id": "call_1"}])
    marked = {"role": "tool", "tool_call_id": "call_1", "content": [text("a", cache_control=mark)]}
    [result] = blocks(USER, turn, marked, tools=[LOOKUP])[-1][1]
    assert result == {"type": "tool_result", "tool_use_id": "call_1", "content": [text("a")], "cache_control": mark}


def test_ids_that_the_api_does_not_take_are_replaced_on_both_sides() -> None:
    odd = {**CALL, "id": "functions.lookup:0"}
    turns = [{"role": "assistant", "tool_calls": [odd]}, {"role": "tool", "tool_call_id": odd["id"], "content": "rain"}]
    said = blocks(USER, *turns, *turns, tools=[LOOKUP])
    used = [block["id"] for _, content in said for block in content if block["type"] == "tool_use"]
    answered = [block["tool_use_id"] for _, content in said for block in content if block["type"] == "tool_result"]
    assert used == answered
    assert len(set(used)) == 2


def test_an_id_that_comes_twice_is_told_apart() -> None:
    turns = [{"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "call_1", "content": "rain"}]
    said = blocks(USER, *turns, *turns, tools=[LOOKUP])
    assert [block["id"] for _, content in said for block in content if block["type"] == "tool_use"] == ["call_1", "tollway_1"]


def test_words_to_go_on_from_are_kept_without_their_last_blanks() -> None:
    body, adjusted = sent(USER, {"role": "assistant", "content": "The answer is "})
    assert body["messages"][-1] == {"role": "assistant", "content": [text("The answer is")]}
    assert adjusted == ["messages"]


def test_thoughts_go_back_in_front_as_they_came() -> None:
    hidden = {"type": "reasoning.encrypted", "data": "xyz", "format": CLAUDE, "index": 1}
    said = blocks(USER, {"role": "assistant", "content": "Well.", "reasoning": "Hm.", "reasoning_details": [THOUGHT, hidden]}, USER)
    assert said[1][1] == [
        {"type": "thinking", "thinking": "Hm.", "signature": "signature-of-1"},
        {"type": "redacted_thinking", "data": "xyz"},
        text("Well."),
    ]


def test_thoughts_that_came_in_pieces_are_put_together() -> None:
    def piece(index: int | None, **more: str) -> dict[str, Any]:
        return {"type": "reasoning.text", "format": CLAUDE, "index": index, **more}

    pieces = [piece(0, text="Let"), piece(0, text=" me."), piece(0, text="", signature="signature-of-1"), piece(1, text="lost")]
    pieces += [piece(2, text="More."), piece(2, signature="signature-of-2"), piece(3, signature="signature-of-3")]
    [_, (_, content), _] = blocks(USER, {"role": "assistant", "content": "Well.", "reasoning_details": pieces}, USER)
    assert [(block.get("thinking"), block.get("signature")) for block in content[:-1]] == [
        ("Let me.", "signature-of-1"),
        ("More.", "signature-of-2"),
        ("", "signature-of-3"),
    ]


def test_thoughts_that_lost_their_numbers_are_told_apart_by_their_signatures() -> None:
    details = [{name: value for name, value in THOUGHT.items() if name != "index"}, {**THOUGHT, "index": None, "text": "More."}]
    [_, (_, content), _] = blocks(USER, {"role": "assistant", "content": "Well.", "reasoning_details": details}, USER)
    assert [block.get("thinking") for block in content] == ["Hm.", "More.", None]


@pytest.mark.parametrize(
    "detail",
    [
        {**THOUGHT, "signature": None},
        {**THOUGHT, "format": "google-gemini-v1"},
        {"type": "reasoning.summary", "summary": "Hm.", "format": CLAUDE},
        {"type": "reasoning.encrypted", "data": None, "format": CLAUDE},
        {"type": ["reasoning.text"], "format": CLAUDE},
        "odd",
    ],
)
def test_thoughts_that_are_not_claude_s_or_unsigned_are_left_out(detail: Any) -> None:
    said = blocks(USER, {"role": "assistant", "content": "Well.", "reasoning_details": [detail]}, USER)
    assert said[1][1] == [text("Well.")]
    assert blocks(USER, {"role": "assistant", "content": "Well.", "reasoning_details": {"a": detail}}, USER) == said


# What cannot be said


def part(**fields: Any) -> dict[str, Any]:
    return {"role": "user", "content": [text("a"), fields]}


LARGE = "A" * (10 * 2**20 + 4)
ASKED: Any = {"role": "assistant", "tool_calls": [CALL]}
RESULT: Any = {"role": "tool", "tool_call_id": "call_1", "content": "rain"}
UNSAYABLE: dict[str, tuple[list[Any], str]] = {
    "audio": ([part(type="input_audio", input_audio={"format": "wav", "data": PNG})], "messages[0].content[1]"),
    "video": ([part(type="video_url", video_url={"url": "https://example.com/a.mp4"})], "messages[0].content[1]"),
    "an unknown type": ([part(type="hologram")], "messages[0].content[1]"),
    "a file's id": ([USER, part(type="file", file={"file_id": "file-1"})], "messages[1].content[1]"),
    "a TIFF": ([part(type="image_url", image_url={"url": f"data:image/tiff;base64,{PNG}"})], "messages[0].content[1]"),
    "a large image": ([part(type="image_url", image_url={"url": f"data:image/png;base64,{LARGE}"})], "messages[0].content[1]"),
    "a program": ([part(type="file", file={"file_data": f"data:application/x-elf;base64,{PNG}"})], "messages[0].content[1]"),
    "text that is none": ([part(type="file", file={"file_data": "data:text/plain;base64,/w=="})], "messages[0].content[1]"),
    "text that is no base64": ([part(type="file", file={"file_data": "data:text/plain;base64,!"})], "messages[0].content[1]"),
    "an image of the assistant's": (
        [USER, {**part(type="image_url", image_url="https://x.y"), "role": "assistant"}],
        "messages[1].content[1]",
    ),
    "an image as an instruction": ([{**part(type="image_url", image_url="https://x.y"), "role": "system"}, USER], "messages[0].content[1]"),
    "a result without a call": ([USER, RESULT], "messages[1].tool_call_id"),
    "a result of another turn": ([USER, ASKED, RESULT, ASKED, {**RESULT, "tool_call_id": "call_2"}], "messages[4].tool_call_id"),
    "a result too late": ([USER, ASKED, USER, {"role": "assistant", "content": "b"}, RESULT], "messages[4].tool_call_id"),
    "a result twice": ([USER, ASKED, RESULT, RESULT], "messages[3].tool_call_id"),
    "broken arguments": (
        [USER, {**ASKED, "tool_calls": [{**CALL, "function": {"name": "a", "arguments": "{"}}]}],
        "messages[1].tool_calls[0].function.arguments",
    ),
    "an old function's result": ([USER, {"role": "function", "name": "a", "content": "b"}], "messages[1].role"),
    "an old function's call": (
        [USER, {"role": "assistant", "function_call": {"name": "a", "arguments": "{}"}}],
        "messages[1].function_call",
    ),
    "the assistant's voice": ([USER, {"role": "assistant", "audio": {"id": "a"}}], "messages[1].audio"),
    "nothing": ([{"role": "system", "content": "a"}, {"role": "user", "content": ""}], "messages"),
}


@pytest.mark.parametrize("name", UNSAYABLE)
def test_what_cannot_be_said_names_its_place(name: str) -> None:
    messages, place = UNSAYABLE[name]
    assert refused(*messages, tools=[LOOKUP]) == place
