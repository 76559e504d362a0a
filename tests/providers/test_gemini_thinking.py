"""What the gemini dialect sends of thoughts: signatures back to where they came from, and how much the model is to think."""

from typing import Any

import pytest

from tests.fakes.gemini_checks import UNSIGNED
from tests.providers.gemini_sent import NEW, OLD, asked, result, sent, user


def detail(**fields: Any) -> dict[str, Any]:
    return {"type": "reasoning.encrypted", "format": "google-gemini-v1", **fields}


SIGNED = "c2lnbmF0dXJlLW9mLTE="


@pytest.mark.parametrize("model", [OLD, NEW])
def test_signatures_go_back_where_they_came_from_and_thoughts_do_not(model: str) -> None:
    said = {
        "role": "assistant",
        "content": "Let me see.",
        "reasoning": "Hm.",
        "tool_calls": [asked("a"), asked("b")],
        "reasoning_details": [
            {"type": "reasoning.text", "text": "Hm.", "format": "google-gemini-v1", "index": 0},
            detail(data=SIGNED, index=1),
            detail(data=UNSIGNED, id="b", index=2),
        ],
    }
    of_model = sent(user(), said, result("1", "a"), result("2", "b"), model=model)["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in of_model] == [SIGNED, UNSIGNED if model == NEW else None, UNSIGNED]
    assert [next(iter(part)) for part in of_model] == ["text", "functionCall", "functionCall"]


def test_a_signature_without_a_text_stands_alone() -> None:
    said = {"role": "assistant", "content": None, "reasoning_details": [detail(data=SIGNED), detail(data=UNSIGNED)]}
    assert sent(user(), said, user())["contents"][1]["parts"] == [
        {"text": "", "thoughtSignature": SIGNED},
        {"text": "", "thoughtSignature": UNSIGNED},
    ]


def test_a_call_that_lost_its_signature_is_marked_for_models_that_insist_on_one() -> None:
    turns = (user(), {"role": "assistant", "tool_calls": [asked("a"), asked("b")]}, result("1", "a"), result("2", "b"))
    assert [part.get("thoughtSignature") for part in sent(*turns, model=NEW)["contents"][1]["parts"]] == [UNSIGNED, None]
    assert [part.get("thoughtSignature") for part in sent(*turns, model=OLD)["contents"][1]["parts"]] == [None, None]


@pytest.mark.parametrize(
    "foreign",
    [
        {"type": "reasoning.encrypted", "format": "anthropic-claude-v1", "data": "x"},
        {"type": "reasoning.encrypted", "data": "x"},
        {"type": "reasoning.text", "format": "google-gemini-v1", "text": "x", "signature": "y"},
        detail(data=1),
        detail(data=""),
        detail(data="x", id="of-no-call"),
        "x",
        None,
    ],
)
def test_what_another_model_encrypted_is_not_sent(foreign: Any) -> None:
    said = {"role": "assistant", "content": "Yes.", "reasoning_details": [foreign]}
    assert sent(user(), said, user())["contents"][1]["parts"] == [{"text": "Yes."}]


@pytest.mark.parametrize(
    ("model", "fields", "config", "adjusted"),
    [
        (OLD, {}, None, []),
        (OLD, {"reasoning": {"exclude": True}}, None, []),
        (OLD, {"reasoning": {"enabled": True}}, {"includeThoughts": True}, []),
        (OLD, {"reasoning_effort": "high"}, {"includeThoughts": True, "thinkingBudget": 8000}, []),
        (OLD, {"reasoning": {"effort": "max", "exclude": True}}, {"includeThoughts": False, "thinkingBudget": 9500}, []),
        (OLD, {"reasoning_effort": "minimal"}, {"includeThoughts": True, "thinkingBudget": 1000}, []),
        (OLD, {"reasoning_effort": "none"}, {"includeThoughts": False, "thinkingBudget": 0}, []),
        (OLD, {"reasoning": {"enabled": False, "effort": "high"}}, {"includeThoughts": False, "thinkingBudget": 0}, []),
        (OLD, {"reasoning": {"max_tokens": 2000}}, {"includeThoughts": True, "thinkingBudget": 2000}, []),
        (OLD, {"reasoning": {"max_tokens": 10**30}}, {"includeThoughts": True, "thinkingBudget": 24_576}, ["reasoning"]),
        (OLD, {"reasoning_effort": "very"}, None, ["reasoning_effort"]),
        (OLD, {"reasoning_effort": ["high"]}, None, ["reasoning_effort"]),
        (OLD, {"reasoning": {"max_tokens": "many"}}, None, ["reasoning"]),
        ("gemini-2.5-pro", {"reasoning_effort": "none"}, {"includeThoughts": False, "thinkingBudget": 128}, ["reasoning_effort"]),
        ("gemini-2.5-flash-lite", {"reasoning": {"max_tokens": 100}}, {"includeThoughts": True, "thinkingBudget": 512}, ["reasoning"]),
        ("gemini-2.0-flash", {"reasoning_effort": "high"}, None, ["reasoning_effort"]),
        ("gemini-2.0-flash", {"reasoning_effort": "none"}, None, []),
        (NEW, {}, None, []),
        (NEW, {"reasoning": {"enabled": True, "exclude": True}}, {"includeThoughts": False}, []),
        (NEW, {"reasoning_effort": "xhigh"}, {"includeThoughts": True, "thinkingLevel": "HIGH"}, []),
        (NEW, {"reasoning_effort": "high"}, {"includeThoughts": True, "thinkingLevel": "HIGH"}, []),
        (NEW, {"reasoning": {"effort": "medium"}}, {"includeThoughts": True, "thinkingLevel": "MEDIUM"}, []),
        (NEW, {"reasoning_effort": "low"}, {"includeThoughts": True, "thinkingLevel": "LOW"}, []),
        (NEW, {"reasoning_effort": "minimal"}, {"includeThoughts": True, "thinkingLevel": "LOW"}, ["reasoning_effort"]),
        (NEW, {"reasoning_effort": "none"}, {"includeThoughts": False, "thinkingLevel": "LOW"}, ["reasoning_effort"]),
        (NEW, {"reasoning": {"max_tokens": 7000}}, {"includeThoughts": True, "thinkingLevel": "HIGH"}, ["reasoning"]),
        ("gemini-flash-latest", {"reasoning_effort": "low"}, {"includeThoughts": True, "thinkingLevel": "LOW"}, []),
        ("gemini-4-argon", {"reasoning_effort": "low"}, {"includeThoughts": True, "thinkingLevel": "LOW"}, []),
    ],
)
def test_thinking_is_asked_for_as_the_model_takes_it(
    model: str, fields: dict[str, Any], config: dict[str, Any] | None, adjusted: list[str]
) -> None:
    named: list[str] = []
    body = sent(user(), model=model, limit=10_000, adjusted=named, **fields)
    assert body["generationConfig"].get("thinkingConfig") == config
    assert named == adjusted
