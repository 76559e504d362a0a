"""The choice: every combination ends with the strictest word, a sample keeps its share and its mind, and a patch changes what it names."""

from itertools import product

import msgspec
import pytest

from policy import privacy
from policy.errors import InvalidPrivacy
from policy.privacy import DEFAULT, LEVELS, Level, Privacy, keeps_content, level_of, merged, stored_level, strictest

SAID: tuple[Level | None, ...] = (None, *LEVELS)
FULL = Privacy(logging="full")


def kept(choice: Privacy, level: Level = "full", key_id: str = "key_1", generation_id: str = "gen-1") -> bool:
    return keeps_content(choice, level, key_id=key_id, generation_id=generation_id)


def test_by_default_nothing_of_a_prompt_is_kept_and_no_opt_in_is_on() -> None:
    facts = msgspec.to_builtins(DEFAULT)
    assert (facts.pop("logging"), facts.pop("retention_days"), facts.pop("sampling_rate"), facts.pop("keys")) == ("metadata", 30, 1.0, None)
    assert set(facts.values()) == {False}
    assert len(facts) == 5
    assert not any(kept(DEFAULT, level) for level in LEVELS)


@pytest.mark.parametrize("levels", list(product(SAID, repeat=3)), ids=lambda levels: "-".join(map(str, levels)))
def test_of_account_key_and_request_the_strictest_word_holds(levels: tuple[Level | None, ...]) -> None:
    said = [LEVELS.index(level) for level in levels if level is not None]
    found = strictest(*levels)
    assert LEVELS.index(found) == (min(said) if said else LEVELS.index("metadata"))
    for more in SAID:
        assert LEVELS.index(strictest(*levels, more)) <= LEVELS.index(found) or not said, "one more word can only make it stricter"


def test_no_combination_keeps_content_unless_everybody_says_full() -> None:
    for account, key, request in product(LEVELS, SAID, SAID):
        wanted = account == "full" and key in (None, "full") and request in (None, "full")
        assert kept(Privacy(logging=account), strictest(account, key, request)) is wanted


def test_no_opt_in_implies_prompt_logs() -> None:
    flags = [name for name, value in msgspec.to_builtins(DEFAULT).items() if value is False]
    for name in flags:
        choice = merged(DEFAULT, {name: True})
        assert not any(kept(choice, level) for level in LEVELS)
        assert [other for other in flags if getattr(choice, other)] == [name]


def test_whatever_the_other_opt_ins_prompt_logs_follow_their_own_word_alone() -> None:
    flags = [name for name, value in msgspec.to_builtins(DEFAULT).items() if value is False]
    combinations = [dict(zip(flags, values, strict=True)) for values in product((False, True), repeat=len(flags))]
    assert len(combinations) == 2**5
    for chosen, logging, level in product(combinations, LEVELS, LEVELS):
        choice = merged(DEFAULT, {**chosen, "logging": logging})
        assert kept(choice, level) is (logging == level == "full"), chosen


def test_only_the_chosen_keys_are_kept() -> None:
    choice = merged(FULL, {"keys": ["key_1", "key_2"]})
    assert [id for id in ("key_1", "key_2", "key_3", "") if kept(choice, key_id=id)] == ["key_1", "key_2"]
    assert not kept(merged(FULL, {"keys": []}))


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9, 1.0])
def test_the_sample_is_near_its_rate_and_never_changes_its_mind(rate: float) -> None:
    choice, ids = merged(FULL, {"sampling_rate": rate}), [f"gen-{number}" for number in range(20_000)]
    chosen = {id for id in ids if kept(choice, generation_id=id)}
    assert abs(len(chosen) / len(ids) - rate) < 0.015
    assert chosen == {id for id in ids if kept(choice, generation_id=id)}
    smaller = merged(FULL, {"sampling_rate": rate / 2})
    assert {id for id in ids if kept(smaller, generation_id=id)} <= chosen, "a smaller sample is part of the larger one"


def test_a_patch_changes_what_it_names_and_null_is_the_default() -> None:
    one = merged(DEFAULT, {"logging": "full", "retention_days": 7, "keys": ["key_1"]})
    assert (one.logging, one.retention_days, one.keys, one.sampling_rate) == ("full", 7, ("key_1",), 1.0)
    assert merged(one, {}) == one
    assert merged(one, {"retention_days": None}) == merged(one, {"retention_days": 30})
    assert merged(one, {"logging": None}).logging == "metadata"
    assert merged(one, dict.fromkeys(Privacy.__struct_fields__)) == DEFAULT


@pytest.mark.parametrize("days", [1, 2, 364, 365])
def test_retention_is_one_day_to_a_year(days: int) -> None:
    assert merged(DEFAULT, {"retention_days": days}).retention_days == days


@pytest.mark.parametrize(
    ("change", "field"),
    [
        *(({"retention_days": days}, "retention_days") for days in (0, -1, 366, 10**20, 1.5, "30", True, [30])),
        *(({"sampling_rate": rate}, "sampling_rate") for rate in (0, -0.1, 1.0001, "1", True)),
        *(({"logging": level}, "logging") for level in ("", "FULL", "all", 2, True, ["full"])),
        *(({"keys": keys}, "keys") for keys in ("key_1", {"key_1": 1}, [None], [1], ["k"] * 1001)),
        *(({flag: 1}, flag) for flag in ("chat_history", "product_improvement")),
        ({"Logging": "full"}, "Logging"), ({"log": None}, "log"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_the_fields_name(change: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidPrivacy) as refused:
        merged(FULL, change)
    assert str(refused.value).startswith(field)


@pytest.mark.parametrize("raw", [None, [], "full", 1, {"logging": None}])
def test_a_document_that_is_no_choice_is_refused(raw: object) -> None:
    with pytest.raises(InvalidPrivacy):
        privacy.parse(raw)


def test_a_keys_word_that_nobody_knows_counts_as_the_strictest() -> None:
    assert [stored_level(word) for word in (None, "none", "metadata", "full", "Full", "", "most")] == [
        None, "none", "metadata", "full", "none", "none", "none",
    ]  # fmt: skip


def test_a_header_may_be_written_in_any_case_and_a_wrong_one_is_not_quoted() -> None:
    assert [level_of(word, "X") for word in ("none", " Metadata ", "FULL")] == ["none", "metadata", "full"]
    with pytest.raises(InvalidPrivacy, match="X-Tollway-Logging: write none, metadata or full") as refused:
        level_of("canary", "X-Tollway-Logging")
    assert "canary" not in str(refused.value)
