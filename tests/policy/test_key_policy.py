"""A key's data policy: what may be written, what is refused by name, and that it only ever narrows its account's rules."""

from pathlib import Path
from typing import Any

import pytest

from metering import ledger
from metering.database import Sqlite
from policy import account_rules, key_policy, keys, rules
from policy.account_keys import Change, change
from policy.caller import FRESH_MS, Callers
from policy.errors import InvalidKey, InvalidRules
from policy.preferences import Preferences
from policy.rules import effective

NOW = 1_760_000_000_000
TOKEN = keys.generate(lambda below: 7)


@pytest.mark.parametrize(("raw", "stored"), [
    (None, None), ({}, None), ({"zdr": None, "region": []}, None),
    ({"zdr": True}, {"zdr": True}), ({"region": "EU"}, {"region": ["eu"]}),
    ({"region": ["us", "eu"], "zdr": False}, {"zdr": False, "region": ["us", "eu"]}), ({"data_collection": "allow"},) * 2,
])  # fmt: skip
def test_what_is_written_is_kept_in_one_form(raw: object, stored: dict[str, Any] | None) -> None:
    assert key_policy.shown(key_policy.written(raw)) == stored
    assert key_policy.written(stored) == key_policy.written(raw)


@pytest.mark.parametrize(("raw", "begin"), [
    *((raw, "data_policy: write an object with data_collection, zdr, region") for raw in ("deny", [], 1, True)),
    ({"zdr": "yes"}, "data_policy.zdr: expected bool | null, got str; write true or false"),
    ({"zdr": 1}, "data_policy.zdr: "),
    ({"data_collection": "never"}, 'data_policy.data_collection: invalid enum value \'never\'; write "allow" or "deny"'),
    ({"data_collection": True}, "data_policy.data_collection: "),
    ({"region": 3}, "data_policy.region: "), ({"region": [1.5]}, "data_policy.region[0]: "), ({"region": ""}, "data_policy.region[0]: "),
    ({"region": ["eu"] * 101}, "data_policy.region: "), ({"region": {"eu": 1}}, "data_policy.region: "),
    ({"only": ["a"]}, "data_policy.only: is not a known field; use data_collection, zdr, region"),
    ({"zdr": True, "x" * 500: 1}, f"data_policy.{'x' * 100}: is not a known field"),
])  # fmt: skip
def test_what_cannot_be_meant_is_refused_by_its_field(raw: object, begin: str) -> None:
    with pytest.raises(InvalidKey) as caught:
        key_policy.written(raw)
    assert caught.value.message.startswith(begin)
    assert caught.value.param == begin.partition(":")[0]
    assert not caught.value.message.endswith("..")


STRICT = {"data_collection": "deny", "zdr": True, "region": ["eu"]}
LOOSE = {"data_collection": "allow", "zdr": False, "region": ["eu", "us", "ch"]}


@pytest.mark.parametrize(("account", "key", "asked"), [
    (STRICT, LOOSE, LOOSE), (LOOSE, STRICT, LOOSE), (LOOSE, LOOSE, STRICT), (STRICT, STRICT, STRICT), ({}, STRICT, {}),
    ({"provider": STRICT}, {}, LOOSE), ({"region": ["eu", "us"]}, {"region": ["eu", "ch"], "zdr": True}, {"data_collection": "deny"}),
])  # fmt: skip
def test_the_strictest_of_account_key_and_request_counts(account: dict[str, Any], key: dict[str, Any], asked: dict[str, Any]) -> None:
    bound = key_policy.bound(rules.parse(account), key_policy.written(key))
    found = effective(rules.parse(asked).preferences, bound)
    assert (found.data_collection, found.zdr, found.region) == ("deny", True, ("eu",))


def test_regions_of_two_rules_that_have_none_in_common_leave_none() -> None:
    bound = key_policy.bound(rules.parse({"region": "us"}), key_policy.written({"region": "eu"}))
    assert bound.preferences.region == ()
    assert effective(Preferences(region=("eu", "us")), bound).region == ()


def test_a_key_without_a_policy_is_under_its_accounts_rules_as_they_are() -> None:
    account = rules.parse({"zdr": True, "presets": {"a": {"model": "a/b"}}, "max_price": {"prompt": 1}})
    assert key_policy.bound(account, None) is account
    bound = key_policy.bound(account, key_policy.written({"data_collection": "deny"}))
    assert (bound.presets, bound.max_price, bound.account) == (account.presets, account.max_price, account.preferences)
    assert bound.preferences is bound.preferences, "put together once per look-up, not per request"


def test_an_accounts_document_cannot_hold_a_keys_policy() -> None:
    with pytest.raises(InvalidRules, match="key_policy: is not a known field"):
        rules.parse({"key_policy": {"zdr": True}})


async def test_a_changed_policy_binds_the_key_within_a_second_and_no_other_key(tmp_path: Path, sqlite_template: Path) -> None:
    (tmp_path / "tollway.db").write_bytes(sqlite_template.read_bytes())
    database, pepper = Sqlite(str(tmp_path / "tollway.db")), b"pepper"
    callers = Callers(database, pepper)
    other = keys.generate(lambda below: 8)
    await database.write(lambda session: ledger.open_account(session, id="acc", now=NOW))
    for id, token in (("key_1", TOKEN), ("key_2", other)):
        new = keys.NewKey(account_id="acc", kind="inference", name="", data_policy=key_policy.written({"region": "eu"}))
        await database.write(keys.create, new, token=token, pepper=pepper, id=id, now=NOW)
    await database.write(account_rules.put, "acc", {"region": ["eu", "us"], "data_collection": "deny"}, now=NOW)
    before = (await callers.identify(TOKEN, NOW)).rules.preferences
    assert (before.region, before.zdr, before.data_collection) == (("eu",), None, "deny")
    for policy, region, zdr in (({"zdr": True, "region": "us"}, ("us",), True), (None, ("eu", "us"), None)):
        wanted = Change(data_policy=key_policy.written(policy))
        assert await database.write(change, "acc", "key_1", wanted, by="owner", limit_id="lim", now=NOW)
        changed = (await callers.identify(TOKEN, NOW + (FRESH_MS if policy else 2 * FRESH_MS))).rules.preferences
        assert (changed.region, changed.zdr, changed.data_collection) == (region, zdr, "deny")
    assert (await callers.identify(other, NOW)).rules.preferences == before
    await database.aclose()
