"""What is charged in place of the list price: the fee with a customer's own key, less for who shares, and the list price to all others."""

import msgspec
import pytest

from gateway.tariff import Tariffs, tariffs
from metering.price import WHOLE_BPS, Price, cost
from metering.usage import Usage
from policy.account_privacy import Choice
from policy.caller import Caller
from policy.privacy import DEFAULT, merged
from tests.policy.routing import endpoint, plan, request

LISTED = {price.id: price for price in (Price(prompt=7_003, completion=11_001), Price(prompt=3, completion=5, request=100))}
PLAIN = Caller(account_id="acc", key_id="key", kind="owner")
SHARING = msgspec.structs.replace(PLAIN, choice=Choice(merged(DEFAULT, {"product_improvement": True}), 1))
OTHER_OPT_INS = {"chat_history": True, "traces_with_content": True, "evaluation_sets": True, "memories": True, "logging": "full"}
OTHERS = msgspec.structs.replace(PLAIN, choice=Choice(merged(DEFAULT, OTHER_OPT_INS), 1))


def shares(found: Tariffs, caller: Caller, price: Price) -> list[int]:
    """The shares that are charged at an endpoint with the operator's key, and at one with the customer's own."""
    ends = [endpoint("theirs", price=price), endpoint("own", price=price)]
    planned = plan(request(), *ends, own_keys={"own": "pk_1"})
    charged = found.of(caller).charged(planned)
    assert [each.id for each in charged.endpoints] == [each.id for each in planned.endpoints]
    assert all(each.price_id == each.price.id for each in charged.endpoints)
    assert all(each.price_id in {**LISTED, **found.prices()} for each in charged.endpoints), "every price can be looked up later"
    by_slug = {each.provider.slug: each.price for each in charged.endpoints}
    assert all(by_slug[slug].shared(WHOLE_BPS) == price for slug in by_slug), "the rates are the list's"
    return [by_slug["theirs"].share_bps, by_slug["own"].share_bps]


@pytest.mark.parametrize("price", LISTED.values(), ids=["tokens", "requests"])
@pytest.mark.parametrize(
    ("fee", "discount", "sharing"),
    [(525, 0, [10_000, 525]), (525, 1225, [8775, 460]), (0, 1, [9999, 0]), (10_000, 5000, [5000, 5000]), (1, 10_000, [0, 0])],
)
def test_only_who_shares_pays_the_discounted_share(price: Price, fee: int, discount: int, sharing: list[int]) -> None:
    found = tariffs(LISTED, fee_bps=fee, discount_bps=discount)
    assert shares(found, SHARING, price) == sharing
    for caller in (PLAIN, OTHERS):
        assert shares(found, caller, price) == [10_000, fee]


def test_without_own_keys_and_discount_a_plan_is_left_alone() -> None:
    planned = plan(request(), endpoint("theirs", price=Price(prompt=3, completion=5, request=100)))
    found = tariffs(LISTED, fee_bps=525, discount_bps=0)
    assert found.of(PLAIN).charged(planned) is planned
    assert found.of(SHARING).charged(planned) is planned


def test_a_discounted_charge_is_the_exact_share_rounded_down_once() -> None:
    (id, price), _ = LISTED.items()
    shared = tariffs(LISTED, fee_bps=0, discount_bps=1225).of(SHARING).operators[id][1]
    usage = Usage(prompt=1_234_567, completion=7_654_321)
    whole, less = cost(usage, price), cost(usage, shared)
    assert less.total_pico == whole.total_pico * 8775 // 10_000
    assert (less.lines, less.charge * 1000 + less.remainder) == (whole.lines, less.total_pico)
