"""Three kinds of 402, by HTTP and the command line alone: wait, pay, or raise a budget."""

import json
import time
from decimal import Decimal

import pytest

from tests.fakes.faults import Json
from tests.path.claims import assert_error
from tests.path.client import calling
from tests.path.models import DEAR, model_id, upstream
from tests.path.place import NANO, Place, charge_for
from tests.running import Account

MODEL = "priced/dear"


def _cli(place: Place, *words: str) -> Json:
    done = place.tollway.cli(*words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _bounded(place: Place, owner: Account, scope: str, usd: str) -> Account:
    """A key of the account whose spending is bounded in this scope."""
    account = ("--account", owner.account_id)
    project = _cli(place, "project", "create", *account, "--name", "search")["id"]
    member = _cli(place, "member", "add", *account, "--email", "dev@example.com")["id"]
    key = _cli(place, "key", "create", *account, "--project", project, "--member", member)
    subject = {"account": (), "project": ("--project", project), "member": ("--member", member), "key": ("--key", key["id"])}[scope]
    _cli(place, "budget", "set", *account, *subject, "--usd", usd, "--reset", "monthly")
    return Account(owner.account_id, key["key"])


@pytest.mark.parametrize("scope", ["account", "project", "member", "key"])
def test_a_budget_refuses_by_its_name_and_nothing_is_spent_beyond_it(quiet: Place, scope: str) -> None:
    owner = quiet.account("10")
    key = _bounded(quiet, owner, scope, "0.8")
    spent = []
    while (answer := quiet.ask(key, MODEL)).status == 200:
        spent.append(answer.usage["cost"])
    assert_error(answer, 402)
    source = "tollway_key_limit" if scope == "key" else f"tollway_{scope}_budget"
    assert answer.error["metadata"]["limit_source"] == source
    assert answer.error["metadata"]["reason"] == "weight_exceeds_budget"
    assert "retry-after" not in answer.headers
    assert 0 < sum(spent) <= Decimal("0.8")
    [row] = _cli(quiet, "budget", "list", "--account", owner.account_id)
    assert Decimal(row["remaining_usd"]) == Decimal("0.8") - sum(spent)
    assert quiet.ask(owner, MODEL).status == (402 if scope == "account" else 200)
    quiet.verify()


def test_a_balance_that_running_requests_hold_says_wait_and_passes_when_they_end(quiet: Place) -> None:
    owner = quiet.account("2")
    model = model_id("slow-tokens@ms=20")
    with calling(quiet.tollway.port, owner.key, "priced/endless", stream=True) as line:
        line.read_until(b'"content":"', 3)
        answer = quiet.ask(owner, MODEL, max_tokens=10)
        assert_error(answer, 402)
        metadata = answer.error["metadata"]
        assert (metadata["reason"], metadata["limit_source"]) == ("in_flight_budget_exhausted", "tollway_in_flight_budget")
        assert int(answer.headers["retry-after"]) >= 1
        assert metadata["held_nano"] > 0
        line.leave()
    quiet.wait_until_idle()
    assert quiet.ask(owner, model, max_tokens=3).status == 200
    assert not quiet.fake.ledger(upstream("plain"))


def test_a_request_that_the_whole_balance_could_never_pay_is_told_to_pay_even_while_others_run(quiet: Place) -> None:
    owner = quiet.account("2")
    with calling(quiet.tollway.port, owner.key, "priced/endless", stream=True) as line:
        line.read_until(b'"content":"', 3)
        answer = quiet.ask(owner, MODEL, max_tokens=10, messages=[{"role": "user", "content": "many words " * 2000}])
        assert_error(answer, 402)
        metadata = answer.error["metadata"]
        assert (metadata["reason"], metadata["limit_source"]) == ("weight_exceeds_budget", "tollway_credits")
        assert metadata["least_nano"] > 2 * NANO
    quiet.wait_until_idle()


def test_a_budget_set_while_a_key_is_in_use_counts_within_a_second(quiet: Place) -> None:
    owner = quiet.account("10")
    price = charge_for(prompt=1, completion=1, price=DEAR)
    assert quiet.ask(owner, MODEL, max_tokens=1).status == 200
    _cli(quiet, "budget", "set", "--account", owner.account_id, "--usd", str(price / 2))
    until = time.monotonic() + 3
    while quiet.ask(owner, MODEL, max_tokens=1).status != 402:
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("budget", "set", "--account", "{}", "--usd", "-1"), 1, "--usd"),
        (("budget", "set", "--account", "{}", "--usd", "x"), 1, "--usd"),
        (("budget", "set", "--account", "{}", "--usd", "1", "--key", "key_x"), 1, "no key 'key_x'"),
        (("budget", "set", "--account", "{}", "--usd", "1", "--key", "k", "--member", "m"), 2, "only one of"),
        (("budget", "set", "--account", "nobody", "--usd", "1"), 1, "no account nobody"),
        (("budget", "list", "--account", "nobody"), 1, "no account nobody"),
        (("budget", "remove", "--account", "{}", "lim_x"), 1, "no budget lim_x"),
        (("project", "create", "--account", "{}", "--name", ""), 1, "1 to 64"),
        (("member", "add", "--account", "{}", "--email", "nobody"), 1, "not an e-mail"),
        (("member", "add", "--account", "{}", "--email", "a@b", "--role", "owner"), 2, "owner"),
        (("key", "create", "--account", "{}", "--project", "prj_x"), 1, "no project 'prj_x'"),
    ],
)
def test_a_command_that_cannot_be_says_why(quiet: Place, words: tuple[str, ...], status: int, said: str) -> None:
    owner = quiet.account()
    done = quiet.tollway.cli(*(word.format(owner.account_id) for word in words))
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
