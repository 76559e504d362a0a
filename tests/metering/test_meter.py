"""The meter counts what passes, believes a provider within what was held for, and keeps little in memory."""

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.meter import UNCOUNTED_BYTES_MAX, Meter
from metering.tokens import ESTIMATE, tokenizer
from metering.usage import PROMPT_UNITS, Usage

MANY = 10**9


class Letters:
    """One token per character, and how long the longest text was that had to be counted at once."""

    exact = True

    def __init__(self) -> None:
        self.longest = 0
        self.calls = 0

    def count(self, text: str) -> int:
        self.longest = max(self.longest, len(text))
        self.calls += 1
        return len(text)


def _meter(tokens_max: int = MANY, prompt_tokens_max: int = MANY, letters: Letters | None = None) -> Meter:
    return Meter(letters or Letters(), tokens_max=tokens_max, tokens_limit=tokens_max, prompt_tokens_max=prompt_tokens_max)


def _delta(**delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta}]}


def _usage(prompt: int, completion: int, **more: Any) -> dict[str, Any]:
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion, **more}}


def test_without_reported_usage_the_text_is_counted() -> None:
    meter = _meter()
    for word in ("ab", "cde", ""):
        meter.see(_delta(content=word))
    assert meter.usage(7, whole=True) == (Usage(prompt=7, completion=5), "counted")
    assert not meter.reported


@pytest.mark.parametrize(
    "part",
    [
        {"content": "abcd"},
        {"reasoning": "abcd"},
        {"reasoning_content": "abcd"},
        {"refusal": "abcd"},
        {"content": "ab", "reasoning": "cd"},
        {"tool_calls": [{"function": {"name": "ab", "arguments": "cd"}}]},
        {"tool_calls": [{"function": {"name": "ab"}}, {"function": {"arguments": "cd"}}]},
        {"function_call": {"name": "ab", "arguments": "cd"}},
    ],
)
def test_everything_the_model_wrote_counts(part: dict[str, Any]) -> None:
    for event in (_delta(**part), {"choices": [{"index": 0, "message": part}]}):
        meter = _meter()
        meter.see(event)
        assert meter.delivered
        assert meter.usage(0, whole=True)[0].completion == 4


@pytest.mark.parametrize(
    "event",
    [
        {"choices": []},
        _delta(),
        _delta(role="assistant", content=""),
        _delta(content=None, tool_calls=None),
        _delta(content=5, tool_calls=[None, {}, {"function": None}, {"function": {"name": 1, "arguments": None}}]),
    ],
)
def test_an_event_without_output_delivers_nothing(event: dict[str, Any]) -> None:
    meter = _meter()
    meter.see(event)
    assert not meter.delivered
    assert meter.usage(0, whole=True)[0] == Usage()


def test_the_providers_usage_is_believed_and_taken_out_of_the_event() -> None:
    meter, event = _meter(), _usage(10, 5)
    meter.see(_delta(content="a long text that counts as more"))
    meter.see(event)
    assert "usage" not in event
    assert meter.reported
    assert meter.completion_reported
    assert meter.usage(99, whole=True) == (Usage(prompt=10, completion=5), "provider")


def test_of_several_reports_the_last_believable_one_counts() -> None:
    meter = _meter()
    for completion in (1, 2, -1, "9"):
        meter.see(_usage(10, completion))  # type: ignore[arg-type]
    assert meter.usage(0, whole=True)[0] == Usage(prompt=10, completion=2)


def test_a_report_that_cannot_be_believed_leaves_our_own_count() -> None:
    meter = _meter()
    meter.see(_delta(content="abc"))
    meter.see(_usage(-5, 2**40))
    assert meter.usage(7, whole=True) == (Usage(prompt=7, completion=3), "counted")


def test_a_report_above_what_was_held_for_is_cut_to_it() -> None:
    meter = _meter(tokens_max=8, prompt_tokens_max=20)
    meter.see(_usage(50, 30, prompt_tokens_details={"cached_tokens": 15}, completion_tokens_details={"reasoning_tokens": 25}))
    assert meter.usage(0, whole=True)[0] == Usage(prompt=5, cached_prompt=15, reasoning=8)


@given(st.lists(st.integers(0, 1000), min_size=5, max_size=5), st.lists(st.integers(0, 1000), min_size=3, max_size=3), st.integers(0, 2000))
def test_no_report_exceeds_what_was_held_for_and_none_within_it_is_touched(prompts: list[int], completions: list[int], held: int) -> None:
    details = dict(zip(("cached_tokens", "cache_write_tokens", "image_tokens", "audio_tokens"), prompts, strict=False))
    spoken = {"reasoning_tokens": completions[0], "audio_tokens": completions[1]}
    event = _usage(sum(prompts), sum(completions), prompt_tokens_details=details, completion_tokens_details=spoken)
    meter = _meter(tokens_max=held, prompt_tokens_max=held)
    meter.see(event)
    usage, _ = meter.usage(0, whole=True)
    assert usage.prompt_tokens == min(sum(prompts), held)
    assert usage.completion_tokens == min(sum(completions), held)
    assert all(getattr(usage, unit) >= 0 for unit in PROMPT_UNITS)


def test_our_own_count_is_cut_to_what_was_held_for() -> None:
    meter = _meter(tokens_max=3)
    meter.see(_delta(content="abcdef"))
    assert meter.usage(0, whole=True)[0].completion == 3


def test_an_estimate_is_called_one() -> None:
    meter = Meter(ESTIMATE, tokens_max=MANY, tokens_limit=MANY, prompt_tokens_max=MANY)
    meter.see(_delta(content="some words"))
    assert meter.usage(1, whole=True)[1] == "estimated"


def test_an_answer_is_over_when_both_its_tokens_and_its_events_are() -> None:
    meter = _meter(tokens_max=10)
    for number in range(1, 12):
        meter.see(_delta(content="a"))
        assert meter.over == (number > 10)


def test_a_few_events_with_many_tokens_are_over_only_at_twice_the_limit_and_a_little() -> None:
    meter = _meter(tokens_max=10)
    meter.see(_delta(content="a" * 84))
    assert not meter.over
    meter.see(_delta(content="a"))
    assert meter.over


def test_far_from_the_limit_nothing_is_counted_while_events_pass() -> None:
    letters = Letters()
    meter = _meter(tokens_max=60_000, letters=letters)
    for _ in range(1000):
        meter.see(_delta(content="a few more words "))
        assert not meter.over
    assert letters.calls == 0


def test_memory_stays_small_however_long_the_answer_is() -> None:
    letters = Letters()
    meter = _meter(letters=letters)
    for _ in range(5000):
        meter.see(_delta(content="x" * 1000))
        kept = sum(sys.getsizeof(text) for text in meter._texts)
        assert kept <= 2 * UNCOUNTED_BYTES_MAX
    assert letters.longest <= UNCOUNTED_BYTES_MAX + 1000
    assert meter.usage(0, whole=True)[0].completion == 5_000_000


def test_bytes_and_not_characters_bound_the_memory() -> None:
    letters = Letters()
    meter = _meter(letters=letters)
    for _ in range(100):
        meter.see(_delta(content="\N{GRINNING FACE}" * 1000))
    assert letters.longest * 4 <= UNCOUNTED_BYTES_MAX + 4000


def test_half_a_character_does_not_stop_the_meter() -> None:
    meter = Meter(tokenizer("o200k_base"), tokens_max=MANY, tokens_limit=MANY, prompt_tokens_max=MANY)
    meter.see(_delta(content="\ud83d"))
    assert meter.usage(0, whole=True)[0].completion >= 1


@given(st.lists(st.text(max_size=40), max_size=20))
def test_how_the_text_was_cut_into_events_does_not_matter(texts: list[str]) -> None:
    meter = _meter()
    for text in texts:
        meter.see(_delta(content=text))
    assert meter.usage(0, whole=True)[0].completion == len("".join(texts))
    assert meter.delivered == any(texts)


def test_a_report_between_what_is_paid_for_and_the_clients_limit_is_charged_in_full() -> None:
    meter = Meter(Letters(), tokens_max=4, tokens_limit=100, prompt_tokens_max=MANY, strict=True)
    meter.see({**_usage(3, 90), **_delta(content="hi")})
    assert meter.usage(0, whole=True)[0].completion == 90


def test_an_early_report_does_not_make_what_was_delivered_after_it_free() -> None:
    meter = _meter()
    meter.see({**_usage(10, 0), **_delta(content="a")})
    for _ in range(5):
        meter.see(_delta(content="abc"))
    assert meter.usage(0, whole=False) == (Usage(prompt=10, completion=16), "counted")
    assert meter.usage(0, whole=True)[0].completion == 16


def test_reasoning_sent_under_two_names_is_counted_once() -> None:
    meter = _meter()
    meter.see(_delta(reasoning="abcd", reasoning_content="abcd"))
    assert meter.usage(0, whole=True)[0].completion == 4


def test_sound_and_pictures_are_output_too() -> None:
    meter = _meter()
    meter.see(_delta(audio={"data": "UklGRg=="}))
    assert meter.delivered


def test_an_event_that_does_not_leave_is_not_counted() -> None:
    meter = Meter(Letters(), tokens_max=4, tokens_limit=4, prompt_tokens_max=MANY, strict=True)
    meter.see(_delta(content="abcd"))
    meter.see(_delta(content="efgh"))
    assert meter.over
    meter.drop()
    assert not meter.over
    assert meter.usage(0, whole=False)[0].completion == 4
