"""The promises about money, each seen from outside: HTTP, the command line and the provider's own ledger."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest

from tests.fakes.process import Fake
from tests.path.claims import COUNT, PROMPT_COUNTED, assert_error
from tests.path.client import calling
from tests.path.models import DEAR, model_id, upstream
from tests.path.place import NANO, Place, billed, charge_for
from tests.running import tollway

DEAR_MODEL = "priced/dear"
TOKEN = Decimal(DEAR["completion"]) / 10**6


def test_fifty_requests_at_once_never_take_a_balance_for_ten_below_zero(quiet: Place) -> None:
    one = charge_for(prompt=PROMPT_COUNTED, completion=6, price=DEAR)
    owner = quiet.account(str(10 * one))
    with ThreadPoolExecutor(50) as clients:
        asked = [clients.submit(quiet.ask, owner, DEAR_MODEL, stream=number % 2 == 0, max_tokens=6) for number in range(50)]
        while not all(answer.done() for answer in asked):
            books = quiet.books(owner)
            assert min(books.available, books.held) >= 0, books
    answers = [future.result() for future in asked]
    served = [answer for answer in answers if answer.status == 200]
    assert {answer.status for answer in answers} == {200, 402}
    assert sum(answer.usage["cost"] for answer in served) == quiet.used(owner) <= 10 * one
    assert len(quiet.fake.settled(upstream("plain"))) == len(served)
    assert quiet.books(owner).held == 0


def test_an_empty_account_is_told_what_it_can_afford_and_the_provider_hears_nothing(quiet: Place) -> None:
    owner = quiet.account("0.001")
    for stream in (True, False):
        answer = quiet.ask(owner, DEAR_MODEL, stream=stream)
        assert_error(answer, 402)
        assert answer.error["metadata"]["affordable_output_tokens"] == 0
        assert answer.error["metadata"]["available_nano"] == 10**6
    assert not quiet.fake.ledger()


def test_a_keys_limit_refuses_by_its_name_while_the_account_has_money(quiet: Place) -> None:
    owner = quiet.account()
    limited = quiet.limited_key(owner, "0.8")
    costs = []
    while (answer := quiet.ask(limited, DEAR_MODEL)).status == 200:
        costs.append(answer.usage["cost"])
    assert_error(answer, 402)
    assert "key's limit" in answer.error["message"]
    assert answer.error["metadata"]["limit_source"] == "tollway_key_limit"
    assert 0 < sum(costs) <= Decimal("0.8")
    assert quiet.get(limited, "key")["limit_remaining"] == Decimal("0.8") - sum(costs)
    assert len(quiet.fake.settled(upstream("plain"))) == len(costs)
    assert quiet.ask(owner, DEAR_MODEL).status == 200


def test_max_tokens_is_lowered_to_what_is_affordable_and_the_provider_never_gets_more(quiet: Place) -> None:
    affordable = 5
    for asked in ({}, {"max_tokens": 1000}, {"max_completion_tokens": 1000}, {"max_tokens": 3}):
        owner = quiet.account(str(charge_for(prompt=PROMPT_COUNTED, completion=affordable, price=DEAR) + TOKEN / 2))
        answer = quiet.ask(owner, DEAR_MODEL, **asked)
        assert answer.status == 200
        [name] = asked or ["max_tokens"]
        sent = quiet.fake.settled(upstream("plain"))[-1]["request_body"]
        assert sent[name] == min(asked.get(name, affordable), affordable)
        assert {"max_tokens", "max_completion_tokens"} & set(sent) == {name}
        assert answer.reasons() == ["length"]
        assert quiet.used(owner) == answer.usage["cost"] == charge_for(**billed(quiet.fake.ledger()[-1:]), price=DEAR)


def test_a_provider_that_ignores_max_tokens_earns_no_more_than_the_limit(quiet: Place) -> None:
    owner = quiet.account()
    answer = quiet.ask(owner, "priced/endless", stream=True, max_tokens=7)
    assert answer.reasons() == ["length"]
    assert quiet.used(owner) == answer.usage["cost"] == charge_for(prompt=PROMPT_COUNTED, completion=7, price=DEAR)
    assert quiet.fake.settled("endless@ms=1")[0]["outcome"] == "cancelled"


def test_an_endless_stream_ends_by_the_held_amount(quiet: Place) -> None:
    owner = quiet.account("2")
    answer = quiet.ask(owner, "priced/endless", stream=True)
    assert answer.reasons() == ["length"]
    assert not answer.done
    assert (answer.error["code"], answer.error["metadata"]["reason"]) == (402, "insufficient_credits")
    [row] = quiet.fake.settled("endless@ms=1")
    assert row["outcome"] == "cancelled"
    books = quiet.books(owner)
    assert (books.held, books.available) == (0, 2 * NANO - books.usage)
    assert 0 <= books.available < 2 * TOKEN * NANO, "all but less than two tokens of it was spent"
    assert answer.usage["cost"] == quiet.used(owner)
    assert COUNT(answer.said()) <= answer.usage["completion_tokens"], "nothing beyond the held amount is relayed"


def test_a_stream_that_was_cut_is_charged_for_what_was_delivered(quiet: Place) -> None:
    owner = quiet.account()
    answer = quiet.ask(owner, model_id("reset-midstream"), stream=True)
    assert_error(answer, 502, in_band=True)
    assert quiet.used(owner) == charge_for(prompt=PROMPT_COUNTED, completion=COUNT(answer.said()))


def test_who_has_seen_the_usage_has_been_charged_exactly_that_even_by_a_server_that_is_killed(own: Place) -> None:
    owner = own.account()
    seen = Decimal()
    for stream in (True, False):
        with calling(own.tollway.port, owner.key, model_id("plain"), stream=stream) as line:
            line.read_until(b'"cost":')
            own.tollway.kill()
            with contextlib.suppress(EOFError, ConnectionError):
                while True:
                    line.read()
        seen += Decimal(line.received.partition(b'"cost":')[2].partition(b",")[0].decode())
        own.tollway.start()
        assert own.used(owner) == seen == charge_for(**billed(own.fake.settled(upstream("plain"))))
        assert own.books(owner).held == 0
    own.verify()


@pytest.fixture
def own(migrated_database_url: str, fake: Fake, path_settings: dict[str, str], tmp_path: Path) -> Iterator[Place]:
    """A Tollway that may be killed."""
    fake.reset()
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(tollway({**path_settings, "TOLLWAY_DATABASE_URL": migrated_database_url}, tmp_path))
        yield stack.enter_context(contextlib.closing(Place(tollway=running, fake=fake, database_url=migrated_database_url)))


def test_the_ledger_verifies_after_all_promises(place: Place) -> None:
    place.verify()
