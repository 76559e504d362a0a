"""How a chat's events read as a text completion, also where a provider's are odd."""

from typing import Any

import pytest

from gateway.api.completions_reply import Texts


def choice(part: dict[str, Any], index: int = 0, logprobs: object = None) -> dict[str, Any]:
    return {"index": index, "delta": part, "finish_reason": None, "native_finish_reason": None, "logprobs": logprobs}


def of(texts: Texts, *choices: dict[str, Any]) -> list[dict[str, Any]]:
    event = texts.of({"id": "gen-1", "object": "chat.completion.chunk", "choices": list(choices)})
    assert (event["id"], event["object"]) == ("gen-1", "text_completion")
    read: list[dict[str, Any]] = event["choices"]
    return read


def tokens(*texts: str, top: int = 0) -> dict[str, Any]:
    others = [{"token": f"other{rank}", "logprob": -2.0} for rank in range(top)]
    return {"content": [{"token": text, "logprob": -0.5, "bytes": [], "top_logprobs": others} for text in texts], "refusal": None}


def test_a_chunk_has_the_old_shape_and_nothing_of_the_chat() -> None:
    [read] = of(Texts(""), choice({"role": "assistant", "content": "Hello"}))
    assert read == {"text": "Hello", "index": 0, "logprobs": None, "finish_reason": None, "native_finish_reason": None}


def test_every_choice_begins_once_with_the_prompt() -> None:
    texts = Texts("Say: ")
    assert [read["text"] for read in of(texts, choice({}), choice({"content": "a"}, 1))] == ["Say: ", "Say: a"]
    assert [read["text"] for read in of(texts, choice({"content": "b"}), choice({"content": None}, 1))] == ["b", ""]


def test_logprobs_become_parallel_lists_whose_offsets_go_on_from_chunk_to_chunk() -> None:
    texts = Texts("")
    [one] = of(texts, choice({"content": "Grüß Gott"}, logprobs=tokens("Grüß", " Gott", top=1)))
    assert one["logprobs"] == {
        "tokens": ["Grüß", " Gott"],
        "token_logprobs": [-0.5, -0.5],
        "top_logprobs": [{"other0": -2.0, "Grüß": -0.5}, {"other0": -2.0, " Gott": -0.5}],
        "text_offset": [0, 4],
    }
    two, other = of(texts, choice({"content": "!"}, logprobs=tokens("!")), choice({"content": "!"}, 1, tokens("!")))
    assert (two["logprobs"]["text_offset"], two["logprobs"]["top_logprobs"]) == ([9], [{"!": -0.5}])
    assert other["logprobs"]["text_offset"] == [0]


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_reasoning_stands_beside_the_text(name: str) -> None:
    [read] = of(Texts(""), choice({"content": "4", name: "2 + 2", "reasoning_details": [{"type": "reasoning.text"}], "tool_calls": []}))
    assert (read["text"], read["reasoning"], read["reasoning_details"]) == ("4", "2 + 2", [{"type": "reasoning.text"}])
    assert not read.keys() & {"reasoning_content", "tool_calls", "role", "content"}


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ({"content": [{"type": "text", "text": "a"}, {"type": "thinking"}, "x", {"text": 5}]}, "a"),
        ({"content": 5}, ""),
        ({"content": None, "refusal": "No."}, "No."),
        ({"content": "a", "index": 9, "text": "b", "logprobs": 3}, "a"),
    ],
)
def test_an_odd_message_is_read_as_far_as_it_is_text(part: dict[str, Any], text: str) -> None:
    [read] = of(Texts(""), choice(part))
    assert (read["text"], read["index"], read["logprobs"]) == (text, 0, None)


@pytest.mark.parametrize("odd", [[], {"content": None}, {"content": {}}, "x", 5])
def test_odd_logprobs_are_none(odd: object) -> None:
    assert of(Texts(""), choice({"content": "a"}, logprobs=odd))[0]["logprobs"] is None


def test_an_odd_logprob_is_left_out() -> None:
    entries = [None, {"token": 5, "logprob": 1}, {"token": "x"}, {"token": "a", "logprob": -1, "top_logprobs": [None, {"token": "b"}]}]
    [read] = of(Texts(""), choice({"content": "a"}, logprobs={"content": entries}))
    assert read["logprobs"] == {"tokens": ["a"], "token_logprobs": [-1], "top_logprobs": [{"a": -1}], "text_offset": [0]}
