"""Faults that change what is said, or how much: other fields than content, too much, too large, in the wrong wrapping."""

import json

import pytest

from tests.fakes.answers import LOOKUP
from tests.path.claims import (
    PROMPT_COUNTED,
    assert_attempts,
    assert_booked,
    assert_charged,
    assert_complete,
    assert_error,
    tokens_of,
)
from tests.path.models import PRICED, TEXT, model_id
from tests.path.place import Place, billed, charge_for
from tests.running import Account

MODES = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
BIG = 512 << 10


@pytest.fixture(scope="module")
def owner(place: Place) -> Account:
    return place.account()


@pytest.mark.parametrize(
    ("fault", "field", "text", "reason"),
    [
        ("refusal", "refusal", "I cannot help with that.", "stop"),
        ("content-filter", "content", "Hello from", "content_filter"),
        ("reasoning", "reasoning_content", "Let me think.", "stop"),
        ("empty-content", "content", "", "stop"),
        ("big-event", "content", f"Hello {'x' * BIG} end.", "stop"),
    ],
)
@MODES
def test_whatever_is_said_is_passed_on_and_costs_what_the_provider_reports(
    quiet: Place, owner: Account, fault: str, field: str, text: str, reason: str, stream: bool
) -> None:
    before = quiet.used(owner)
    answer = quiet.ask(owner, model_id(fault), stream=stream)
    assert_complete(answer, stream=stream, reason=reason)
    assert answer.said(field=field) == text
    rows = assert_attempts(quiet, owner, answer, fault)
    assert_charged(quiet, owner, answer, since=before, expected=charge_for(**billed(rows)))


def test_tool_calls_that_come_letter_by_letter_are_passed_on_whole(quiet: Place, owner: Account) -> None:
    before = quiet.used(owner)
    answer = quiet.ask(owner, model_id("tool-split"), stream=True)
    assert_complete(answer, stream=True, reason="tool_calls")
    deltas = [call for choice in answer.choices for call in choice["delta"].get("tool_calls") or ()]
    for index in (0, 1):
        parts = [call["function"] for call in deltas if call["index"] == index]
        assert [part["name"] for part in parts if part.get("name")] == [LOOKUP["name"]]
        assert json.loads("".join(part["arguments"] for part in parts)) == LOOKUP["arguments"]
    rows = assert_attempts(quiet, owner, answer, "tool-split")
    assert_charged(quiet, owner, answer, since=before, expected=charge_for(**billed(rows)))


@MODES
def test_two_choices_in_any_order_each_end_once(quiet: Place, owner: Account, stream: bool) -> None:
    before = quiet.used(owner)
    answer = quiet.ask(owner, model_id("n2"), stream=stream, n=2)
    for index in (0, 1):
        assert answer.said(index) == TEXT
        assert answer.reasons(index) == ["stop"]
    rows = assert_attempts(quiet, owner, answer, "n2")
    assert_charged(quiet, owner, answer, since=before, expected=charge_for(**billed(rows)))


def test_an_event_beyond_the_bound_cuts_the_stream(quiet: Place, owner: Account) -> None:
    before = quiet.used(owner)
    answer = quiet.ask(owner, model_id("huge-event"), stream=True)
    assert_error(answer, 502, in_band=True)
    assert answer.said() == "Hello"
    assert_attempts(quiet, owner, answer, "huge-event")
    assert_booked(quiet, owner, answer, since=before, expected=charge_for(prompt=PROMPT_COUNTED, completion=1))


def test_a_large_body_within_the_bound_is_passed_on_whole(quiet: Place, owner: Account) -> None:
    before = quiet.used(owner)
    answer = quiet.ask(owner, model_id("huge-event"))
    assert_complete(answer, stream=False)
    assert len(answer.said()) == len("Hello  end.") + (2 << 20)
    rows = assert_attempts(quiet, owner, answer, "huge-event")
    assert_charged(quiet, owner, answer, since=before, expected=charge_for(**billed(rows)))


def test_a_stream_in_place_of_json_is_an_error(quiet: Place, owner: Account) -> None:
    before = quiet.used(owner)
    answer = quiet.ask(owner, model_id("json-answered-with-stream"))
    assert_error(answer, 502)
    assert_attempts(quiet, owner, answer, "json-answered-with-stream")
    assert quiet.used(owner) == before


@MODES
def test_cached_tokens_beyond_the_prompt_count_as_the_prompt_at_most(quiet: Place, owner: Account, stream: bool) -> None:
    before = quiet.used(owner)
    answer = quiet.ask(owner, model_id("usage-wrong@kind=inconsistent"), stream=stream)
    assert_complete(answer, stream=stream)
    [row] = assert_attempts(quiet, owner, answer, "usage-wrong@kind=inconsistent")
    prompt, completion = tokens_of(answer)
    assert (prompt, completion) == (row["prompt_tokens"], row["completion_tokens"])
    assert_charged(quiet, owner, answer, since=before, expected=charge_for(prompt=prompt, cached=prompt, completion=completion))


@pytest.mark.parametrize("fault", ["endless", "endless@tokens=100", "ignore-max-tokens@tokens=100"])
def test_a_stream_that_ignores_max_tokens_is_cut_at_the_limit(quiet: Place, owner: Account, fault: str) -> None:
    before = quiet.used(owner)
    answer = quiet.ask(owner, model_id(fault), stream=True, max_tokens=20)
    assert answer.status == 200
    assert answer.reasons() == ["length"]
    assert answer.done == 1
    assert 19 <= len(answer.said().split()) <= 21
    [row] = assert_attempts(quiet, owner, answer, fault)
    assert row["request_body"]["max_tokens"] == 20
    assert tokens_of(answer) == (PROMPT_COUNTED, 20)
    assert_charged(quiet, owner, answer, since=before, expected=charge_for(prompt=PROMPT_COUNTED, completion=20))


@pytest.mark.parametrize("fault", ["endless@tokens=100", "ignore-max-tokens@tokens=100"])
def test_a_whole_answer_that_ignores_max_tokens_costs_at_most_the_limit(quiet: Place, owner: Account, fault: str) -> None:
    before = quiet.used(owner)
    answer = quiet.ask(owner, model_id(fault), max_tokens=20)
    assert answer.status == 200
    [row] = assert_attempts(quiet, owner, answer, fault)
    assert tokens_of(answer) == (row["prompt_tokens"], 20)
    assert_charged(quiet, owner, answer, since=before, expected=charge_for(prompt=row["prompt_tokens"], completion=20))


def test_a_whole_answer_that_never_ends_is_given_up_and_costs_nothing(quiet: Place, owner: Account) -> None:
    before = quiet.used(owner)
    answer = quiet.ask(owner, model_id("endless"), max_tokens=20)
    assert_error(answer, 504)
    [row] = assert_attempts(quiet, owner, answer, "endless")
    assert row["outcome"] == "cancelled"
    assert quiet.used(owner) == before


@MODES
def test_a_price_per_request_is_charged_once_to_the_nano(quiet: Place, owner: Account, stream: bool) -> None:
    before = quiet.used(owner)
    answer = quiet.ask(owner, "priced/request", stream=stream)
    [row] = assert_attempts(quiet, owner, answer, "plain")
    expected = charge_for(**billed([row]), price=PRICED["priced/request"][1])
    assert expected > charge_for(**billed([row]))
    assert_charged(quiet, owner, answer, since=before, expected=expected)
