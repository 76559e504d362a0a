"""A cost is exact to the pico-dollar, is rounded once, and never exceeds the ceiling that was held for it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.money import parse_rate
from metering.price import UNITS, Price, affordable_tokens, ceiling, cost, listed, payable, unpriced
from metering.usage import COMPLETION_UNITS, COUNT_MAX, PROMPT_UNITS, Usage

EXTRAS = frozenset({"cache_write", "image", "audio", "audio_completion"})
RATES = st.integers(0, 100_000_000)
PRICES = st.builds(Price, **dict.fromkeys((*UNITS, "request"), RATES))
SHARES = st.integers(0, 10_000)
TOKENS = st.integers(0, 2_000_000)
USAGES = st.builds(Usage, **dict.fromkeys(UNITS, TOKENS))


@pytest.mark.parametrize(
    ("price", "usage", "charge", "remainder"),
    [
        pytest.param(Price(prompt=parse_rate("0.1"), completion=0), Usage(prompt=1), 100, 0, id="a"),
        pytest.param(Price(prompt=parse_rate("0.0028"), completion=0), Usage(prompt=7), 19, 600, id="b"),
        pytest.param(
            Price(prompt=parse_rate("0.075"), completion=parse_rate("0.30")), Usage(prompt=1234, completion=567), 262_650, 0, id="c"
        ),
        pytest.param(
            Price(prompt=parse_rate("0.079125"), completion=parse_rate("0.3165")), Usage(prompt=1234, completion=567), 277_095, 750,
            id="d-with-5.5-percent-more",
        ),
    ],
)  # fmt: skip
def test_worked_examples(price: Price, usage: Usage, charge: int, remainder: int) -> None:
    exact = cost(usage, price)
    assert (exact.charge, exact.remainder) == (charge, remainder)


def test_ten_million_tokens_of_a_tenth_of_a_micro_dollar_are_one_dollar() -> None:
    assert cost(Usage(prompt=10_000_000), Price(prompt=100_000, completion=0)).charge == 10**9


def test_the_largest_figures_stay_exact() -> None:
    price = Price(prompt=2**62, completion=2**62)
    exact = cost(Usage(prompt=COUNT_MAX, completion=COUNT_MAX), price)
    assert exact.total_pico == 2**94
    assert exact.charge * 1000 + exact.remainder == 2**94


@given(USAGES, PRICES)
def test_charge_and_remainder_are_the_sum_of_the_lines(usage: Usage, price: Price) -> None:
    exact = cost(usage, price)
    assert exact.total_pico == sum(line.total_pico for line in exact.lines) == exact.charge * 1000 + exact.remainder
    assert all(line.units * line.rate_pico == line.total_pico for line in exact.lines)
    assert 0 <= exact.remainder < 1000


@given(USAGES, USAGES, PRICES)
def test_the_cost_of_two_usages_is_the_sum_of_their_costs(one: Usage, two: Usage, price: Price) -> None:
    both = Usage(**{unit: getattr(one, unit) + getattr(two, unit) for unit in UNITS})
    assert cost(both, price).total_pico + price.request == cost(one, price).total_pico + cost(two, price).total_pico


@given(USAGES, PRICES, st.integers(0, 1000), st.integers(0, 1000))
def test_no_usage_costs_more_than_the_ceiling_for_as_many_tokens(
    usage: Usage, price: Price, more_prompt: int, more_completion: int
) -> None:
    tokens = {"prompt_tokens": usage.prompt_tokens + more_prompt, "completion_tokens": usage.completion_tokens + more_completion}
    assert cost(usage, price).charge <= ceiling(price, **tokens, extras=EXTRAS)


@given(USAGES, PRICES)
def test_extras_that_were_not_asked_for_do_not_raise_the_ceiling(usage: Usage, price: Price) -> None:
    plain = Usage(prompt=usage.prompt, cached_prompt=usage.cached_prompt, completion=usage.completion, reasoning=usage.reasoning)
    held = ceiling(price, prompt_tokens=plain.prompt_tokens, completion_tokens=plain.completion_tokens)
    assert cost(plain, price).charge <= held
    assert held <= ceiling(price, prompt_tokens=plain.prompt_tokens, completion_tokens=plain.completion_tokens, extras=EXTRAS)


@given(PRICES, TOKENS, st.integers(0, 10**12))
def test_what_is_affordable_can_be_held_and_hardly_more(price: Price, prompt_tokens: int, amount: int) -> None:
    tokens = affordable_tokens(price, prompt_tokens=prompt_tokens, amount=amount)
    if tokens < 0:
        assert ceiling(price, prompt_tokens=prompt_tokens, completion_tokens=0) > amount
        return
    assert ceiling(price, prompt_tokens=prompt_tokens, completion_tokens=tokens) <= amount
    rate = max(price.rate("completion") or 0, price.rate("reasoning") or 0)
    if rate:
        above = tokens + 1 + -(-1000 // rate)
        assert ceiling(price, prompt_tokens=prompt_tokens, completion_tokens=above) > amount
    else:
        assert tokens == COUNT_MAX


def test_units_without_a_rate_of_their_own_cost_what_they_are_part_of() -> None:
    price = Price(prompt=7, completion=11)
    assert cost(Usage(cached_prompt=1, image=1, reasoning=1), price).total_pico == 7 + 7 + 11


@pytest.mark.parametrize("unit", sorted(EXTRAS - {"image"}))
def test_a_unit_without_a_price_is_blocked_and_never_free(unit: str) -> None:
    price = Price(prompt=7, completion=11)
    assert unpriced(price, frozenset({unit})) == [unit]
    with pytest.raises(ValueError, match=f"no rate for {unit}"):
        cost(Usage(**{unit: 1}), price)


def test_a_price_without_prompt_or_completion_blocks_everything() -> None:
    assert unpriced(Price(), frozenset()) == ["prompt", "completion"]
    assert unpriced(Price(prompt=0, completion=0), frozenset()) == []


def test_a_fee_per_request_is_charged_once() -> None:
    price = Price(prompt=0, completion=0, request=5000)
    assert cost(Usage(prompt=9, completion=9), price).charge == 5 == ceiling(price, prompt_tokens=9, completion_tokens=9)


@given(USAGES, PRICES, SHARES)
def test_a_share_is_taken_once_of_the_whole_sum(usage: Usage, price: Price, share_bps: int) -> None:
    exact, whole = cost(usage, price.shared(share_bps)), cost(usage, price)
    assert exact.total_pico == whole.total_pico * share_bps // 10_000
    assert exact.charge == whole.total_pico * share_bps // 10_000_000
    assert (exact.lines, exact.listed) == (whole.lines, whole.charge)


@given(USAGES, PRICES, SHARES, st.integers(0, 1000))
def test_a_share_never_costs_more_than_its_ceiling(usage: Usage, price: Price, share_bps: int, more: int) -> None:
    price = price.shared(share_bps)
    held = ceiling(price, prompt_tokens=usage.prompt_tokens + more, completion_tokens=usage.completion_tokens, extras=EXTRAS)
    assert cost(usage, price).charge <= held


@given(PRICES, SHARES, TOKENS, st.integers(0, 10**12))
def test_what_is_affordable_at_a_share_can_be_held_and_hardly_more(price: Price, share_bps: int, prompt_tokens: int, amount: int) -> None:
    price = price.shared(share_bps)
    tokens = affordable_tokens(price, prompt_tokens=prompt_tokens, amount=amount)
    if tokens < 0:
        assert ceiling(price, prompt_tokens=prompt_tokens, completion_tokens=0) > amount
        return
    assert ceiling(price, prompt_tokens=prompt_tokens, completion_tokens=tokens) <= amount
    rate = max(price.rate("completion") or 0, price.rate("reasoning") or 0) * share_bps
    if rate:
        above = tokens + 1 + -(-10_000_000 // rate)
        assert ceiling(price, prompt_tokens=prompt_tokens, completion_tokens=above) > amount


def test_nothing_of_a_price_costs_nothing_however_many_tokens() -> None:
    price = Price(prompt=7, completion=11, request=5000).shared(0)
    assert cost(Usage(prompt=9, completion=9), price).charge == ceiling(price, prompt_tokens=9, completion_tokens=9) == 0
    assert affordable_tokens(price, prompt_tokens=9, amount=0) == COUNT_MAX


def test_ids_of_prices_are_what_they_were_before_there_were_shares() -> None:
    assert Price(prompt=1, completion=2).id == "price_d0ee0c4f45e42912dc24dc0f"
    assert Price(prompt=1, completion=2, request=7, image=3).id == "price_bb537823ffcb22084c43ba3e"
    assert Price(prompt=1, completion=2).shared(10_000).id == "price_d0ee0c4f45e42912dc24dc0f"


@given(PRICES, SHARES)
def test_a_stored_price_is_read_as_it_was_written(price: Price, share_bps: int) -> None:
    shared = price.shared(share_bps)
    assert msgspec.json.decode(shared.encoded, type=Price) == shared
    assert (shared.id == price.id) == (share_bps == 10_000)


@given(PRICES, PRICES)
def test_versions_are_equal_when_rates_are(one: Price, two: Price) -> None:
    assert (one.id == two.id) == (one == two)


def test_every_unit_belongs_to_the_prompt_or_to_the_completion() -> None:
    assert sorted((*PROMPT_UNITS, *COMPLETION_UNITS)) == sorted(UNITS) == sorted(Usage.__struct_fields__)


def test_the_fee_of_a_request_is_one_unit_of_its_bill() -> None:
    (line,) = cost(Usage(), Price(prompt=1, completion=1, request=7)).lines
    assert (line.unit, line.units, line.rate_pico, line.total_pico) == ("request", 1, 7, 7)


def test_units_that_the_price_does_not_know_are_paid_as_plain_tokens() -> None:
    price = Price(prompt=1_000_000, completion=2_000_000)
    usage = Usage(prompt=5, cache_write=7, audio=11, completion=3, audio_completion=13)
    assert payable(usage, price) == Usage(prompt=5 + 7 + 11, completion=3 + 13)
    assert payable(Usage(completion=3, audio_completion=13), price) == Usage(completion=16)


def test_units_that_the_price_knows_stay_what_they_are() -> None:
    price = Price(prompt=1, completion=2, cache_write=3, audio=4, audio_completion=5)
    usage = Usage(prompt=5, cached_prompt=2, cache_write=7, audio=11, completion=3, reasoning=4, audio_completion=13)
    assert payable(usage, price) == usage
    assert payable(usage, msgspec.structs.replace(price, cache_write=None)) == msgspec.structs.replace(usage, prompt=12, cache_write=0)


def test_an_amount_below_the_prompts_cost_affords_a_negative_number_of_tokens() -> None:
    price = Price(prompt=1_000_000, completion=1_000_000)
    assert affordable_tokens(price, prompt_tokens=10, amount=9_999) < 0
    assert affordable_tokens(price, prompt_tokens=10, amount=10_000) == 0
    assert affordable_tokens(price, prompt_tokens=10, amount=11_000) == 1


@given(usages=st.lists(USAGES, max_size=5), price=PRICES)
def test_the_list_price_of_many_requests_is_the_sum_of_theirs_to_the_pico_dollar(usages: list[Usage], price: Price) -> None:
    together = [sum(getattr(usage, unit) for usage in usages) for unit in UNITS]
    assert listed(together, len(usages), price) == sum(cost(usage, price).total_pico for usage in usages)


def test_what_has_no_rate_adds_nothing_to_a_list_price() -> None:
    usage = Usage(prompt=3, audio=5)
    units = [getattr(usage, unit) for unit in UNITS]
    assert listed(units, 2, Price(prompt=7, completion=1, request=11)) == 2 * 11 + 3 * 7
