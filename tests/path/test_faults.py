"""Every fault of the fake provider through a real Tollway: what the client sees, what it pays, and that both books agree."""

import pytest

from tests.fakes.faults import FAULTS
from tests.path.claims import (
    COUNT,
    PROMPT_COUNTED,
    SECRETS,
    assert_attempts,
    assert_booked,
    assert_charged,
    assert_complete,
    assert_error,
    tokens_of,
)
from tests.path.client import PROMPT
from tests.path.models import BLAMED, CUT, ODD, OTHERS, REFUSED, TEXT, UNTOLD, model_id
from tests.path.place import Place, billed, charge_for
from tests.running import Account

MODES = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])


@pytest.fixture(scope="module")
def owner(place: Place) -> Account:
    return place.account()


@pytest.mark.parametrize("fault", ODD)
@MODES
def test_an_odd_but_legal_answer_reads_like_the_plain_one_and_costs_what_the_provider_reports(
    quiet: Place, owner: Account, fault: str, stream: bool
) -> None:
    before = quiet.used(owner)
    answer = quiet.ask(owner, model_id(fault), stream=stream)
    assert_complete(answer, stream=stream)
    assert answer.said() == TEXT
    rows = assert_attempts(quiet, owner, answer, fault)
    assert answer.usage["usage_source"] == "provider"
    assert_charged(quiet, owner, answer, since=before, expected=charge_for(**billed(rows)))
    assert tokens_of(answer) == (rows[0]["billed_tokens"]["prompt_tokens"], rows[0]["billed_tokens"]["completion_tokens"])


@pytest.mark.parametrize("fault", UNTOLD)
@MODES
def test_usage_that_is_missing_or_absurd_is_replaced_by_our_count(quiet: Place, owner: Account, fault: str, stream: bool) -> None:
    before = quiet.used(owner)
    answer = quiet.ask(owner, model_id(fault), stream=stream)
    assert_complete(answer, stream=stream)
    assert answer.said() == TEXT
    assert_attempts(quiet, owner, answer, fault)
    assert answer.usage["usage_source"] == "counted"
    assert tokens_of(answer) == (PROMPT_COUNTED, COUNT(TEXT))
    assert_charged(quiet, owner, answer, since=before, expected=charge_for(prompt=PROMPT_COUNTED, completion=COUNT(TEXT)))


@pytest.mark.parametrize("fault", REFUSED)
@MODES
def test_a_failure_before_content_is_an_error_and_costs_nothing(quiet: Place, owner: Account, fault: str, stream: bool) -> None:
    before = quiet.used(owner)
    answer = quiet.ask(owner, model_id(fault), stream=stream)
    assert_error(answer, REFUSED[fault], in_band="stall" in fault and stream and answer.status == 200)
    assert quiet.books(owner).held == 0
    assert quiet.used(owner) == before
    assert_attempts(quiet, owner, answer, fault)
    assert quiet.generation(owner, answer)["total_cost"] == 0


@pytest.mark.parametrize("fault", BLAMED)
@MODES
def test_a_request_that_the_provider_refuses_is_told_why(quiet: Place, owner: Account, fault: str, stream: bool) -> None:
    before = quiet.used(owner)
    answer = quiet.ask(owner, model_id(fault), stream=stream)
    assert_error(answer, BLAMED[fault])
    assert answer.error["type"] == "invalid_request_error"
    assert quiet.used(owner) == before
    assert_attempts(quiet, owner, answer, fault)
    if fault == "context-length":
        assert "maximum context length is 10 tokens" in answer.error["message"]
        assert answer.error["metadata"]["provider_code"] == "context_length_exceeded"
    if fault == "echo-prompt-error":
        assert PROMPT in answer.error["message"]


@pytest.mark.parametrize(("fault", "seconds"), [("rate-limit", "1"), ("rate-limit@secs=7", "7")])
@MODES
def test_a_providers_429_keeps_its_retry_after(quiet: Place, owner: Account, fault: str, seconds: str, stream: bool) -> None:
    answer = quiet.ask(owner, model_id(fault), stream=stream)
    assert (answer.status, answer.headers["retry-after"]) == (429, seconds)
    assert answer.error["type"] == "rate_limit_error"


@pytest.mark.parametrize("fault", CUT)
def test_a_cut_stream_never_looks_like_an_end_and_costs_what_was_delivered(quiet: Place, owner: Account, fault: str) -> None:
    before = quiet.used(owner)
    answer = quiet.ask(owner, model_id(fault), stream=True)
    assert answer.status == 200
    assert answer.said() == "Hello é"
    assert_error(answer, CUT[fault], in_band=True)
    rows = assert_attempts(quiet, owner, answer, fault)
    generation = quiet.generation(owner, answer)
    assert generation["tokens_completion"] == COUNT("Hello é") == 2
    emitted = rows[0]["completion_tokens"]
    assert 2 <= emitted <= len(TEXT.split()) if fault == "malformed-sse" else emitted == 2
    told = fault.startswith("usage-every-chunk")
    prompt = rows[0]["prompt_tokens"] if told else PROMPT_COUNTED
    assert (generation["tokens_prompt"], generation["usage_source"]) == (prompt, "provider" if told else "counted")
    assert_booked(quiet, owner, answer, since=before, expected=charge_for(prompt=prompt, completion=2))


@pytest.mark.parametrize("fault", CUT)
def test_a_body_that_breaks_is_an_error_and_costs_nothing(quiet: Place, owner: Account, fault: str) -> None:
    before = quiet.used(owner)
    answer = quiet.ask(owner, model_id(fault))
    assert_error(answer, CUT[fault])
    assert_attempts(quiet, owner, answer, fault)
    assert quiet.used(owner) == before


def test_a_long_silence_is_filled_with_comments_and_then_answered(quiet: Place, owner: Account) -> None:
    quiet.fake.fault("planned", fault="slow-first-token", ms=600)
    answer = quiet.ask(owner, model_id("planned"), stream=True)
    assert_complete(answer, stream=True)
    assert answer.body.startswith(b": TOLLWAY PROCESSING\n\n")


def test_no_fault_is_left_out() -> None:
    names = {name for fault in (*ODD, *UNTOLD, *REFUSED, *BLAMED, *CUT, *OTHERS) for name in fault.partition("@")[0].split("+")}
    assert set(FAULTS) <= names, set(FAULTS) - names


def test_the_log_holds_no_prompt_no_answer_and_no_key(place: Place, owner: Account) -> None:
    log = place.tollway.log.read_text()
    for secret in ("canary-7f3a", "wörld", owner.key, *SECRETS):
        assert secret not in log
    assert "Traceback" not in log, log[-3000:]


def test_the_ledger_verifies_after_all_faults(place: Place) -> None:
    place.verify()
