"""The meter's own edges: the last token before the hold is asked to grow, an event that does not leave, what is kept in memory."""

from typing import Any

import pytest

from metering.meter import TAIL_CHARACTERS, UNCOUNTED_BYTES_MAX, Meter
from metering.usage import Usage


class Letters:
    """One token per character, and how much text it was ever given."""

    exact = True

    def __init__(self) -> None:
        self.given = 0

    def count(self, text: str) -> int:
        self.given += len(text)
        return len(text)


def _meter(tokens_max: int, letters: Letters | None = None) -> Meter:
    return Meter(letters or Letters(), tokens_max=tokens_max, tokens_limit=10**9, prompt_tokens_max=10**9, strict=True)


def _delta(text: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}}]}


@pytest.mark.parametrize(("count", "nearly", "over"), [(6, False, False), (7, True, False), (8, True, False), (9, True, True)])
def test_more_is_asked_for_after_three_quarters_and_the_end_is_after_the_last(count: int, nearly: bool, over: bool) -> None:
    meter = _meter(8)
    for _ in range(count):
        meter.see(_delta("x"))
    assert (meter.nearly_over, meter.over) == (nearly, over)


def test_an_event_that_does_not_leave_was_not_delivered() -> None:
    meter = _meter(8)
    meter.see(_delta("ab"))
    meter.see(_delta("cd"))
    assert meter.events == 2
    for _ in range(2):
        meter.drop()
        assert (meter.events, meter.delivered) == (1, True)
    assert meter.usage(3, whole=False) == (Usage(prompt=3, completion=2), "counted")


def test_nothing_but_a_blank_event_is_no_delivery() -> None:
    meter = _meter(8)
    meter.see({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
    meter.drop()
    assert (meter.events, meter.delivered) == (0, False)


@pytest.mark.parametrize("completion", [0, 1, 2])
def test_one_reported_token_is_a_completion_and_none_is_not(completion: int) -> None:
    meter = _meter(8)
    meter.see({"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": completion}})
    assert meter.completion_reported is (completion > 0)


def test_text_is_counted_once_in_a_while_and_what_was_counted_is_forgotten() -> None:
    """However long the answer, each of its characters is handed to the tokenizer a few times at most."""
    letters = Letters()
    meter = _meter(10**9, letters)
    piece, pieces = "word " * 200, 500
    for _ in range(pieces):
        meter.see(_delta(piece))
        assert meter._kept_bytes <= UNCOUNTED_BYTES_MAX + 2 * len(piece)
        assert sum(map(len, meter._texts)) <= UNCOUNTED_BYTES_MAX + 2 * len(piece)
    assert letters.given <= len(piece) * pieces
    assert meter.usage(0, whole=True)[0].completion == len(piece) * pieces
    assert sum(map(len, meter._texts)) <= 2 * TAIL_CHARACTERS
    assert letters.given <= len(piece) * pieces + 2 * TAIL_CHARACTERS


@pytest.mark.parametrize(("text", "completion", "source"), [("a", 1, "provider"), ("ab", 2, "counted"), ("abc", 3, "counted")])
def test_of_a_broken_answer_the_larger_count_is_taken(text: str, completion: int, source: str) -> None:
    meter = _meter(8)
    meter.see({**_delta(text), "usage": {"prompt_tokens": 4, "completion_tokens": 1}})
    usage, by = meter.usage(5, whole=False)
    assert (usage.completion, by) == (completion, source)


def test_three_quarters_are_counted_in_tokens_and_not_in_bytes() -> None:
    class Pairs(Letters):
        def count(self, text: str) -> int:
            return len(text) // 2

    meter = _meter(8, Pairs())
    meter.see(_delta("x" * 12))
    assert not meter.nearly_over, "six of eight tokens are exactly three quarters"
    meter.see(_delta("xx"))
    assert meter.nearly_over


def test_what_health_and_sticky_routes_ask_of_a_meter() -> None:
    meter = _meter(100)
    assert (meter.cached_prompt, meter.paced_tokens, meter.completion_reported) == (0, 0, False)
    meter.see({"choices": [{"delta": {"content": "one"}}]})
    meter.see({"choices": [{"delta": {"content": "two"}}]})
    assert (meter.cached_prompt, meter.paced_tokens) == (0, 2), "one token for each event, as long as nothing is reported"
    usage = {"prompt_tokens": 10, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 4}}
    meter.see({"choices": [], "usage": usage})
    assert (meter.cached_prompt, meter.paced_tokens, meter.completion_reported) == (4, 7, True)


@pytest.mark.parametrize("odd", ["text", 5, ["x"], None])
def test_an_answer_that_is_no_object_is_no_output(odd: object) -> None:
    meter = _meter(100)
    meter.see({"choices": [{"delta": odd}]})
    assert not meter.delivered


@pytest.mark.parametrize("excess", [0, 1, 2])
def test_a_report_that_is_too_high_by_a_single_token_is_cut(excess: int) -> None:
    meter = Meter(Letters(), tokens_max=5, tokens_limit=5, prompt_tokens_max=7)
    meter.see({"choices": [], "usage": {"prompt_tokens": 7 + excess, "completion_tokens": 5 + excess}})
    assert meter.usage(1, whole=True) == (Usage(prompt=7, completion=5), "provider")


@pytest.mark.parametrize(("events", "over"), [(8, False), (9, True)])
def test_where_the_balance_is_not_the_limit_the_number_of_events_must_agree(events: int, over: bool) -> None:
    meter = Meter(Letters(), tokens_max=8, tokens_limit=8, prompt_tokens_max=7)
    for _ in range(events):
        meter.see(_delta("xx"))
    assert meter.over is over


@pytest.mark.parametrize(("letters", "over"), [(8, False), (9, False), (80, False), (81, True)])
def test_where_events_are_few_only_twice_the_limit_and_some_is_too_much(letters: int, over: bool) -> None:
    """Our tokenizer is not the provider's: one event of 80 letters is over by our count of 8 tokens, but may not be by theirs."""
    meter = Meter(Letters(), tokens_max=8, tokens_limit=10**9, prompt_tokens_max=10**9)
    meter.see(_delta("x" * letters))
    assert meter.over is over


@pytest.mark.parametrize("blanks", [0, 1, 2])
def test_text_is_counted_in_parts_however_few_places_there_are_to_part_it(blanks: int) -> None:
    text = "x" * 2 * TAIL_CHARACTERS + "y" + " y" * blanks
    meter = _meter(10**9)
    meter.see(_delta(text))
    meter.see(_delta("z"))
    assert meter.usage(0, whole=True)[0].completion == len(text) + 1
