"""`tollway route replay` over real generations: the rules of then reproduce them to the nano-dollar, other rules show what changes."""

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gateway.timespan import iso
from policy.route import draw_of
from tests.fakes.process import Fake
from tests.path.client import Answer
from tests.path.place import billed, charge_for
from tests.path.routes import PRICES, Crossing, crossing
from tests.running import Account

PERIOD = ("--from", "2020-01-01T00:00:00Z", "--to", "2021-01-01")


class Past(NamedTuple):
    """What was asked before anything is replayed; `failed` found one provider broken and went to another."""

    at: Crossing
    answers: list[Answer]
    failed: list[Answer]
    rows: list[dict[str, Any]]
    period: tuple[str, ...]
    other: Account


@pytest.fixture(scope="module", params=("sqlite", "postgres"))
def past(request: pytest.FixtureRequest, fake: Fake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    """60 answers, some of them streamed; 8 that had to go on to a second provider or got nothing; one answer of another account."""
    fake.reset()
    with crossing(request.param, fake, tmp_path_factory.mktemp("replay"), request) as at:
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda i: at.ask(stream=i % 3 == 0, max_tokens=3 + i % 5), range(60)))
        rows = fake.settled(count=60)
        for name in ("two-cheap", "two-middle"):
            fake.fault(name, fault="status", status=500)
        failed = [at.ask("acme/two", provider={"only": ["cheap", "middle"]}) for _ in range(4)]
        failed += [at.ask("acme/two", provider={"order": ["cheap", "dear"]}) for _ in range(4)]
        fake.reset()
        other = at.tollway.account()
        assert at.ask(key=other.key).status == 200
        yield Past(at, answers, failed, rows, _today(answers), other)


def _today(answers: list[Answer]) -> tuple[str, ...]:
    moments = [int(answer.headers["x-generation-id"].split("-")[1]) for answer in answers]
    return "--from", iso((min(moments) - 60) * 1000), "--to", iso((max(moments) + 3600) * 1000)


def replay(past: Past, tmp_path: Path, rules: object, *options: str, period: tuple[str, ...] = ()) -> Any:
    file = tmp_path / "rules.json"
    file.write_text(json.dumps(rules))
    chosen = options or ("--account", past.at.account.account_id)
    return past.at.tollway.cli_json("route", "replay", *(period or past.period), "--rules", str(file), *chosen)


def cost_at(past: Past, slug: str) -> Decimal:
    """What the 60 answers would have cost at one provider, by the fake's own ledger and by hand."""
    return sum((charge_for(**billed([row]), price=PRICES[slug]) for row in past.rows), Decimal(0))


def test_the_rules_of_then_reproduce_every_first_choice_and_its_cost_to_the_nano(past: Past, tmp_path: Path) -> None:
    found = replay(past, tmp_path, {})
    served = Counter(row["model"].removeprefix("one-") for row in past.rows)
    second = [answer for answer in past.failed if answer.status == 200]
    assert (len(second), len(past.failed)) == (4, 8)
    moved = sum(found["providers"][slug]["replayed"] for slug in PRICES) - 60
    assert moved == 4
    numbers = found["generations"]
    assert numbers["left_out_unanswered"] == 4
    assert (numbers["recorded"], numbers["replayed"], numbers["refused"]) == (64, 64, 0)
    stayed = sum(_first(answer) == "dear" for answer in second)  # those whose draw is dear go there by themselves
    assert numbers["same_endpoint"] == 60 + stayed
    for slug in PRICES:
        went = sum(_first(answer) == slug for answer in second)
        assert found["providers"][slug]["replayed"] == served[slug] + went
        assert found["providers"][slug]["recorded"] == served[slug] + (4 if slug == "dear" else 0)


def _first(answer: Answer) -> str:
    """By hand: weights 1/price^2 of 3 prompt tokens to 1 of the answer, cheapest first."""
    weights = {slug: 1 / (3 * float(each["prompt"]) + float(each["completion"])) ** 2 for slug, each in PRICES.items()}
    left = draw_of(answer.headers["x-generation-id"]) * 2**16 % 1 * sum(weights.values())
    for slug, weight in weights.items():
        left -= weight
        if left < 0:
            return slug
    raise AssertionError


def test_where_every_generation_got_its_first_choice_nothing_changes_at_all(past: Past, tmp_path: Path) -> None:
    """The other account has one answer; `acme/one` never failed."""
    found = replay(past, tmp_path, {"allowed_models": ["acme/one"]})
    assert found["generations"] == {
        "recorded": 64, "replayed": 60, "refused": 4, "same_endpoint": 60, "other_endpoint": 0, "left_out_unanswered": 4,
    }  # fmt: skip
    assert found["refused_by"] == {"Filter by Account Models": 4}
    cost = found["cost_usd"]
    assert cost["replayed"] == cost["recorded_of_replayed"]
    assert Decimal(cost["replayed"]) == sum(
        charge_for(**billed([row]), price=PRICES[row["model"].removeprefix("one-")]) for row in past.rows
    )
    assert Decimal(cost["recorded"]) == Decimal(cost["replayed"]) + Decimal(cost["recorded_of_refused"])
    assert found["first_byte_ms_median"]["estimated_of"] == 60


@pytest.mark.parametrize("slug", sorted(PRICES))
def test_rules_that_leave_one_provider_cost_what_its_price_says(past: Past, tmp_path: Path, slug: str) -> None:
    rules = {"allowed_models": ["acme/one"], "provider": {"only": [slug]}}
    found = replay(past, tmp_path, rules)
    assert {name for name, each in found["providers"].items() if each["replayed"]} == {slug}
    assert Decimal(found["cost_usd"]["replayed"]) == cost_at(past, slug)
    assert Decimal(found["providers"][slug]["replayed_usd"]) == cost_at(past, slug)


def test_rules_by_price_and_by_latency_take_the_cheapest_and_the_fastest(past: Past, tmp_path: Path) -> None:
    cheapest = replay(past, tmp_path, {"allowed_models": ["acme/one"], "provider": {"sort": "price"}})
    assert cheapest["providers"]["cheap"]["replayed"] == 60
    fastest = replay(past, tmp_path, {"allowed_models": ["acme/one"], "provider": {"sort": "latency"}})
    assert max(each["replayed"] for each in fastest["providers"].values()) == 60
    assert fastest["first_byte_ms_median"]["estimated"] is not None


def test_rules_that_leave_nothing_refuse_everything_and_say_at_which_step(past: Past, tmp_path: Path) -> None:
    found = replay(past, tmp_path, {"region": "eu"})
    assert (found["generations"]["refused"], found["generations"]["replayed"]) == (64, 0)
    assert found["refused_by"] == {"Filter by Region": 64}
    assert (found["cost_usd"]["replayed"], found["cost_usd"]["recorded_of_replayed"]) == ("0", "0")
    assert found["first_byte_ms_median"]["estimated"] is None


def test_a_period_without_generations_is_all_zeros_and_all_accounts_are_one_report(past: Past, tmp_path: Path) -> None:
    nothing = replay(past, tmp_path, {}, period=PERIOD)
    assert (nothing["generations"]["recorded"], nothing["cost_usd"]["recorded"], nothing["providers"]) == (0, "0", {})
    file = tmp_path / "rules.json"
    everything = past.at.tollway.cli_json("route", "replay", *past.period, "--rules", str(file))
    assert everything["generations"]["recorded"] == 65
    one = replay(past, tmp_path, {}, "--account", past.other.account_id)
    assert (one["generations"]["recorded"], one["generations"]["same_endpoint"]) == (1, 1)


def test_the_report_is_plain_text_and_names_its_caveats(past: Past, tmp_path: Path) -> None:
    (tmp_path / "rules.json").write_text('{"ignored_providers": ["cheap"]}')
    done = past.at.tollway.cli("route", "replay", *past.period, "--rules", str(tmp_path / "rules.json"))
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("all accounts", "would be served", "cost replayed", "provider\tthen", "not recorded", "Health"):
        assert words in done.stdout
    assert "canary" not in done.stdout
