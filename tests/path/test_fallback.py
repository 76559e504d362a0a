"""When the next endpoint is tried, when it is not, and what that costs: one charge, for the answer that was given."""

import time
from decimal import Decimal

import pytest

from tests.path.claims import assert_booked, assert_charged, assert_complete, assert_error, requests_served
from tests.path.client import Answer
from tests.path.models import BLAMED, CUT, REFUSED, SECOND, UNREACHABLE, model_id, upstream
from tests.path.place import Place, billed, charge_for
from tests.running import Account

MODES = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
SECOND_SAYS = "Hello from second."


@pytest.fixture(scope="module")
def owner(place: Place) -> Account:
    return place.account()


@pytest.mark.parametrize("fault", REFUSED)
@MODES
def test_the_second_endpoint_answers_and_only_it_is_charged(quiet: Place, owner: Account, fault: str, stream: bool) -> None:
    before = quiet.used(owner)
    answer = quiet.ask(owner, model_id(fault, "two"), stream=stream)
    assert_complete(answer, stream=stream)
    assert answer.said() == SECOND_SAYS
    assert {event["provider"] for event in (answer.events if stream else [answer.json])} == {"fake-b"}
    requests_served(quiet, fault)
    rows = quiet.fake.settled(SECOND)
    assert len(rows) == 1
    assert providers_tried(quiet, owner, answer) == ["fake-a", "fake-b"]
    assert quiet.generation(owner, answer)["provider_name"] == "fake-b"
    assert_charged(quiet, owner, answer, since=before, expected=charge_for(**billed(rows)))


@pytest.mark.parametrize("fault", BLAMED)
@MODES
def test_a_request_that_is_at_fault_is_not_tried_elsewhere(quiet: Place, owner: Account, fault: str, stream: bool) -> None:
    before = quiet.used(owner)
    answer = quiet.ask(owner, model_id(fault, "two"), stream=stream)
    assert_error(answer, BLAMED[fault])
    assert providers_tried(quiet, owner, answer) == ["fake-a"]
    assert not quiet.fake.ledger(SECOND)
    assert quiet.used(owner) == before


@pytest.mark.parametrize("fault", CUT)
def test_what_breaks_after_content_is_not_begun_again(quiet: Place, owner: Account, fault: str) -> None:
    before = quiet.used(owner)
    answer = quiet.ask(owner, model_id(fault, "two"), stream=True)
    assert_error(answer, CUT[fault], in_band=True)
    assert providers_tried(quiet, owner, answer) == ["fake-a"]
    assert not quiet.fake.ledger(SECOND)
    assert_booked(quiet, owner, answer, since=before, expected=answer_cost(quiet, owner, answer))


@pytest.mark.parametrize("provider", UNREACHABLE)
@MODES
def test_an_endpoint_that_cannot_be_reached_is_passed_over(quiet: Place, owner: Account, provider: str, stream: bool) -> None:
    before = quiet.used(owner)
    answer = quiet.ask(owner, model_id(provider, "two"), stream=stream)
    assert_complete(answer, stream=stream)
    rows = quiet.fake.settled(SECOND)
    assert len(rows) == 1
    assert providers_tried(quiet, owner, answer) == [provider, "fake-b"]
    assert_charged(quiet, owner, answer, since=before, expected=charge_for(**billed(rows)))


@MODES
def test_a_request_makes_three_attempts_at_most(quiet: Place, owner: Account, stream: bool) -> None:
    before = quiet.used(owner)
    answer = quiet.ask(owner, "four/dead", stream=stream)
    assert_error(answer, 502, in_band=stream and answer.status == 200)
    assert providers_tried(quiet, owner, answer) == ["refusing", "fake-a", "silent"]
    assert [error["provider"] for error in answer.error["metadata"]["previous_errors"]] == ["refusing", "fake-a"]
    assert not quiet.fake.ledger(SECOND)
    assert quiet.used(owner) == before


def test_a_provider_that_failed_once_is_asked_again_by_the_next_request(quiet: Place, owner: Account) -> None:
    assert_error(quiet.ask(owner, model_id("fail-then-ok")), 502)
    assert_complete(quiet.ask(owner, model_id("fail-then-ok")), stream=False)
    assert len(quiet.fake.settled(upstream("fail-then-ok"))) == 2


@pytest.mark.parametrize("fault", ["ok-then-close-idle", "ok-then-close-idle@how=rst", "ok-then-close-idle@how=idle"])
@MODES
def test_a_kept_connection_that_was_closed_is_replaced_unseen(quiet: Place, owner: Account, fault: str, stream: bool) -> None:
    quiet.ask(owner, model_id("plain"))
    quiet.fake.reset()
    assert_complete(quiet.ask(owner, model_id(fault), stream=stream), stream=stream)
    time.sleep(0.1)
    before = quiet.used(owner)
    answer = quiet.ask(owner, model_id("plain"), stream=stream)
    assert_complete(answer, stream=stream)
    rows = quiet.fake.settled(upstream("plain"))
    assert [row["outcome"] for row in rows] == (["served"] if fault.endswith("idle") and "how" in fault else ["failed", "served"])
    assert providers_tried(quiet, owner, answer) == ["fake-a"]
    assert_charged(quiet, owner, answer, since=before, expected=charge_for(**billed(rows)))


def providers_tried(place: Place, account: Account, answer: Answer) -> list[str]:
    return [attempt["provider_name"] for attempt in place.generation(account, answer)["provider_responses"]]


def answer_cost(place: Place, account: Account, answer: Answer) -> Decimal:
    """What was delivered, at the price list."""
    generation = place.generation(account, answer)
    return charge_for(prompt=generation["tokens_prompt"], completion=generation["tokens_completion"])
