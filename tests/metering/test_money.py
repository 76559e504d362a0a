"""Amounts go in and out as decimal text and lose nothing on the way."""

import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.money import AMOUNT_MAX, NANO_PER_USD, format_rate, format_usd, json_usd, now_ms, parse_rate, parse_rate_each, parse_usd

INT64_MAX = 2**63 - 1


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("1", 10**9),
        ("0.000000001", 1),
        ("-0.5", -5 * 10**8),
        ("1e-9", 1),
        ("1.50", 1_500_000_000),
        ("0", 0),
        ("-0", 0),
        ("9000000", AMOUNT_MAX),
    ],
)
def test_dollars_become_nano_dollars(text: str, nano: int) -> None:
    assert parse_usd(text) == nano


@pytest.mark.parametrize(
    "text",
    [
        "",
        "abc",
        "1,5",
        "$1",
        "NaN",
        "sNaN",
        "Infinity",
        "-Infinity",
        "1e999999",
        "1e-999999",
        "1e99999999999999999999",
        "9000000.000000001",
        "0x10",
    ],
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not|beyond|finer"):
        parse_usd(text)


@pytest.mark.parametrize("text", ["0.0000000001", "1.0000000000000000000000000000000000001", "0.000000001" + "0" * 80 + "1"])
def test_what_is_finer_than_a_nano_dollar_is_refused_and_never_rounded(text: str) -> None:
    with pytest.raises(ValueError, match="finer than a nano-dollar"):
        parse_usd(text)


@given(st.integers(-AMOUNT_MAX, AMOUNT_MAX))
def test_an_amount_comes_back_as_it_went(nano: int) -> None:
    assert parse_usd(format_usd(nano)) == nano


@given(st.integers(-INT64_MAX - 1, INT64_MAX))
def test_every_64_bit_amount_is_written_with_all_its_digits(nano: int) -> None:
    text = format_usd(nano)
    assert Decimal(text).scaleb(9) == nano
    assert "e" not in text.lower()
    assert not ("." in text and text.endswith("0"))
    assert bytes(json_usd(nano)) == text.encode()


@pytest.mark.parametrize(
    ("nano", "text"), [(262_650, "0.00026265"), (0, "0"), (-1, "-0.000000001"), (NANO_PER_USD, "1"), (INT64_MAX, "9223372036.854775807")]
)
def test_nano_dollars_are_written_as_dollars(nano: int, text: str) -> None:
    assert format_usd(nano) == text


@pytest.mark.parametrize(("text", "pico"), [("0.15", 150_000), ("0.0028", 2800), ("75", 75_000_000), ("0", 0), ("0.000001", 1)])
def test_a_price_per_million_becomes_a_rate_per_unit(text: str, pico: int) -> None:
    assert parse_rate(text) == pico


def test_a_price_each_becomes_a_rate_and_is_written_in_dollars() -> None:
    assert parse_rate_each("0.005") == 5 * 10**9
    assert format_rate(150_000) == "0.00000015"


@pytest.mark.parametrize("text", ["-1", "0.0000001", "cheap", "1e30", "inf"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"negative|finer|not"):
        parse_rate(text)


def test_the_largest_rate_that_text_can_say_is_a_quarter_of_64_bits() -> None:
    assert parse_rate_each("4611686.018427387904") == 2**62
    with pytest.raises(ValueError, match="usable"):
        parse_rate_each("4611686.018427387905")


def test_now_is_unix_time_in_milliseconds() -> None:
    assert abs(now_ms() - time.time() * 1000) < 1000
