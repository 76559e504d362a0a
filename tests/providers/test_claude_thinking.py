"""How much a Claude is asked to think, by generation, and what must give way to it."""

from typing import Any

import pytest

from tests.providers.anthropic_sent import CALL, LOOKUP, THOUGHT, USER, sent


@pytest.mark.parametrize(
    ("effort", "limit", "budget"),
    [
        ("max", 10_000, 9500),
        ("xhigh", 10_000, 9500),
        ("high", 10_000, 8000),
        ("medium", 10_000, 5000),
        ("low", 10_000, 2000),
        ("minimal", 10_000, 1024),
        ("high", 1025, 1024),
        ("high", 500_000, 128_000),
    ],
)
def test_an_effort_is_a_share_of_the_limit_within_bounds(effort: str, limit: int, budget: int) -> None:
    body, adjusted = sent(USER, limit=limit, reasoning_effort=effort)
    assert body["thinking"] == {"type": "enabled", "budget_tokens": budget}
    assert adjusted == []


@pytest.mark.parametrize(
    ("reasoning", "expected"),
    [
        ({"max_tokens": 2000}, {"type": "enabled", "budget_tokens": 2000}),
        ({"enabled": True}, {"type": "enabled", "budget_tokens": 4000}),
        ({"enabled": False}, {"type": "disabled"}),
        ({"enabled": False, "max_tokens": 2000}, {"type": "disabled"}),
        ({"exclude": True}, None),
        ({}, None),
    ],
)
def test_reasoning_is_a_budget_or_a_switch(reasoning: dict[str, Any], expected: Any) -> None:
    body, adjusted = sent(USER, reasoning=reasoning)
    assert body.get("thinking") == expected
    assert adjusted == []


def test_no_effort_at_all_switches_thinking_off() -> None:
    assert sent(USER, reasoning_effort="none")[0]["thinking"] == {"type": "disabled"}


@pytest.mark.parametrize(
    "reasoning", [{"max_tokens": 100}, {"max_tokens": 90_000}, {"max_tokens": "much"}, {"max_tokens": True, "enabled": True}]
)
def test_a_budget_out_of_bounds_is_changed_and_named(reasoning: dict[str, Any]) -> None:
    assert sent(USER, reasoning=reasoning)[1] == ["reasoning"]


@pytest.mark.parametrize("effort", ["huge", ["high"], 5])
def test_an_effort_that_nobody_knows_is_named(effort: Any) -> None:
    body, adjusted = sent(USER, reasoning_effort=effort)
    assert "thinking" not in body
    assert adjusted == ["reasoning_effort"]


def test_a_limit_without_room_for_thoughts_drops_them() -> None:
    body, adjusted = sent(USER, limit=1024, reasoning_effort="high")
    assert "thinking" not in body
    assert adjusted == ["reasoning_effort"]


def test_with_thinking_sampling_is_dropped_and_no_call_is_forced() -> None:
    body, adjusted = sent(USER, tools=[LOOKUP], tool_choice="required", reasoning_effort="low", temperature=0.2, top_p=0.9, top_k=5)
    assert body.keys() == {"model", "max_tokens", "messages", "tools", "thinking"}
    assert adjusted == ["tool_choice", "temperature", "top_p", "top_k"]


def test_what_is_the_default_anyway_is_dropped_in_silence() -> None:
    assert sent(USER, reasoning_effort="low", temperature=1, top_p=1)[1] == []


def test_thinking_pauses_where_the_turn_that_called_lost_its_thoughts() -> None:
    turns = [{"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "call_1", "content": "rain"}]
    body, adjusted = sent(USER, *turns, tools=[LOOKUP], reasoning_effort="high")
    assert "thinking" not in body
    assert adjusted == ["reasoning_effort"]
    turns[0]["reasoning_details"] = [THOUGHT]
    assert sent(USER, *turns, tools=[LOOKUP], reasoning_effort="high")[0]["thinking"]["type"] == "enabled"


def test_thinking_is_dropped_where_words_are_to_go_on_from() -> None:
    assert sent(USER, {"role": "assistant", "content": "So"}, reasoning_effort="high")[1] == ["reasoning_effort"]


@pytest.mark.parametrize(
    ("model", "fields", "thinking", "effort", "adjusted"),
    [
        ("claude-opus-4-7", {"reasoning_effort": "xhigh"}, "adaptive", "xhigh", []),
        ("claude-sonnet-5", {"reasoning_effort": "minimal"}, "adaptive", "low", ["reasoning_effort"]),
        ("claude-sonnet-4-6", {"reasoning_effort": "max"}, "adaptive", "high", ["reasoning_effort"]),
        ("claude-opus-4-6", {"reasoning_effort": "max"}, "adaptive", "max", []),
        ("claude-opus-4-6", {"reasoning": {"max_tokens": 2000}}, "enabled", None, []),
        ("claude-opus-5", {"reasoning": {"max_tokens": 2000}}, "adaptive", None, ["reasoning"]),
        ("claude-opus-5", {"reasoning": {"enabled": True}}, "adaptive", None, []),
        ("claude-opus-5", {"reasoning_effort": "none"}, "disabled", None, []),
        ("claude-opus-4-8", {"reasoning_effort": "none"}, None, None, []),
        ("claude-sonnet-5-5", {"reasoning_effort": "none"}, "between_tools", None, []),
        ("claude-opus-5-5", {"reasoning_effort": "none"}, None, "low", ["reasoning_effort"]),
        ("claude-fable-5", {"reasoning": {"enabled": False}}, None, "low", ["reasoning"]),
        ("claude-3-5-haiku-20241022", {"reasoning_effort": "high"}, None, None, ["reasoning_effort"]),
        ("claude-sonnet-4-20250514", {"reasoning_effort": "high"}, "enabled", None, []),
        ("claude-opus-5", {}, None, None, []),
    ],
)
def test_each_generation_thinks_in_its_own_way(
    model: str, fields: dict[str, Any], thinking: str | None, effort: str | None, adjusted: list[str]
) -> None:
    body, named = sent(USER, model=model, **fields)
    assert body.get("thinking", {}).get("type") == thinking
    assert body.get("output_config", {}).get("effort") == effort
    assert named == adjusted


@pytest.mark.parametrize(("exclude", "display"), [(True, "omitted"), (False, "summarized")])
def test_adaptive_thoughts_are_shown_unless_they_are_not_wanted(exclude: bool, display: str) -> None:
    body, _ = sent(USER, model="claude-opus-5", reasoning={"enabled": True, "exclude": exclude})
    assert body["thinking"]["display"] == display


@pytest.mark.parametrize("model", ["claude-opus-4-7", "claude-opus-4-8", "claude-sonnet-5", "claude-fable-5", "claude-mythos-preview"])
def test_models_without_sampling_are_not_sent_any(model: str) -> None:
    body, adjusted = sent(USER, model=model, temperature=0.2, top_p=0.9, top_k=3)
    assert body.keys() == {"model", "max_tokens", "messages"}
    assert adjusted == ["temperature", "top_p", "top_k"]
    assert sent(USER, model="claude-opus-4-6", temperature=0.2)[1] == []


def test_the_newest_models_take_no_sampling_and_no_forced_call() -> None:
    body, adjusted = sent(USER, model="claude-opus-5-5", temperature=0.2, top_k=3, tools=[LOOKUP], tool_choice="required")
    assert body.keys() == {"model", "max_tokens", "messages", "tools"}
    assert adjusted == ["tool_choice", "temperature", "top_k"]


def test_temperature_and_top_p_go_together_only_where_the_model_takes_both() -> None:
    assert sent(USER, model="claude-sonnet-4-5", temperature=0.2, top_p=0.9)[1] == ["top_p"]
    assert sent(USER, model="claude-sonnet-4-5", top_p=0.9)[0]["top_p"] == 0.9
    assert sent(USER, temperature=0.2, top_p=0.9)[1] == []
