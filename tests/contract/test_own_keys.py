"""Customers' own provider keys on both databases: bounds, one at a time per provider, sealed at rest, gone when revoked."""

import asyncio
from typing import Any

import pytest

from metering.database import Database
from metering.errors import UnknownAccount
from policy import keys, own_keys
from policy.caller import Callers
from policy.errors import InvalidOwnKey, SealBroken
from policy.keys import NewKey
from policy.own_keys import Sealed
from policy.route import NO_KEYS
from policy.tables import ProviderKey
from tests import books

SECRET = "s" * 32
TEXT = "sk-canary-9d27-of-a-customer"
NOW = books.START
PEPPER = b"p" * 32


async def _add(database: Database, id: str = "pk_1", account_id: str = "acc", provider: str = "acme", text: str = TEXT) -> ProviderKey:
    nonce = id.encode().ljust(12, b"-")
    given: dict[str, Any] = {"id": id, "account_id": account_id, "provider": provider, "text": text}
    return await database.write(own_keys.add, **given, secret=SECRET, random_bytes=lambda size: nonce[:size], now=NOW)


async def _revoke(database: Database, id: str, account_id: str = "acc") -> bool:
    return await database.write(own_keys.revoke, id=id, account_id=account_id, now=NOW + 1)


async def test_a_key_is_stored_sealed_and_opens_for_its_account_only(database: Database, migrated_database_url: str) -> None:
    await books.fund(database, "acc", 0)
    added = await _add(database)
    assert (added.provider, added.label) == ("acme", "sk-...mer")
    [(provider, id, sealed)] = await database.read(own_keys.of, "acc")
    assert (provider, id) == ("acme", "pk_1")
    assert Sealed(((id, sealed),)).open(id, "acc", secrets=(SECRET,)) == TEXT
    with pytest.raises(SealBroken):
        Sealed(((id, sealed),)).open(id, "other", secrets=(SECRET,))
    rows = await books.sql(migrated_database_url, "SELECT * FROM provider_key")
    assert TEXT not in repr(rows)


async def test_an_account_has_one_key_per_provider_until_it_is_revoked(database: Database) -> None:
    await books.fund(database, "acc", 0)
    await books.fund(database, "other", 0)
    await _add(database)
    with pytest.raises(InvalidOwnKey, match="provider: the account has a key for acme"):
        await _add(database, "pk_2")
    await _add(database, "pk_3", provider="zenith")
    await _add(database, "pk_4", account_id="other")
    assert await _revoke(database, "pk_1")
    await _add(database, "pk_5")
    assert sorted(key.id for key in await database.read(own_keys.listed, "acc")) == ["pk_3", "pk_5"]


async def test_of_two_keys_added_at_once_one_stands(database: Database) -> None:
    await books.fund(database, "acc", 0)
    outcomes = await asyncio.gather(*(_add(database, f"pk_{number}") for number in range(8)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes if isinstance(outcome, Exception)] == [InvalidOwnKey] * 7
    assert len(await database.read(own_keys.listed, "acc")) == 1


async def test_an_account_has_fifty_keys_at_most(database: Database) -> None:
    await books.fund(database, "acc", 0)
    for number in range(own_keys.KEYS_MAX):
        await _add(database, f"pk_{number}", provider=f"p{number}")
    with pytest.raises(InvalidOwnKey, match="provider: the account has 50 keys"):
        await _add(database, "pk_more", provider="more")
    assert await _revoke(database, "pk_7")
    await _add(database, "pk_more", provider="more")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1234567",
        "x" * 4097,
        "sk key with spaces",
        "sk-key\r\nX-Injected: 1",
        "sk-key-tab\t",
        "sk-kéy-of-acme",
        "sk-key\x00nul",
        "sk-key-end\n",
    ],
)
async def test_what_cannot_be_a_key_is_refused_without_being_repeated(database: Database, text: str) -> None:
    await books.fund(database, "acc", 0)
    with pytest.raises(InvalidOwnKey) as caught:
        await _add(database, text=text)
    assert caught.value.param == "key"
    assert len(text) < 5 or text not in str(caught.value)
    assert await database.read(own_keys.listed, "acc") == []


@pytest.mark.parametrize("text", ["12345678", "~" * 4096])
async def test_the_shortest_and_the_longest_key_are_taken(database: Database, text: str) -> None:
    await books.fund(database, "acc", 0)
    await _add(database, text=text)
    [(_, id, sealed)] = await database.read(own_keys.of, "acc")
    assert Sealed(((id, sealed),)).open(id, "acc", secrets=(SECRET,)) == text


async def test_nobody_has_no_keys(database: Database) -> None:
    with pytest.raises(UnknownAccount):
        await _add(database)
    assert await database.read(own_keys.of, "acc") == []


async def test_a_revoked_key_is_forgotten_and_only_its_account_can_revoke_it(database: Database, migrated_database_url: str) -> None:
    await books.fund(database, "acc", 0)
    await _add(database)
    assert not await _revoke(database, "pk_1", "other")
    assert not await _revoke(database, "pk_2")
    assert len(await database.read(own_keys.of, "acc")) == 1
    assert await _revoke(database, "pk_1")
    assert await _revoke(database, "pk_1")
    assert await database.read(own_keys.of, "acc") == []
    assert await books.sql(migrated_database_url, "SELECT sealed, revoked_at FROM provider_key") == [("", NOW + 1)]


async def test_a_caller_brings_its_keys_for_a_second(database: Database) -> None:
    token = keys.generate(lambda below: 7 % below)
    await books.fund(database, "acc", 0)
    await database.write(keys.create, NewKey(account_id="acc", kind="owner", name="o"), token=token, pepper=PEPPER, id="key_1", now=NOW)
    callers = Callers(database, PEPPER)
    assert (await callers.identify(token, NOW)).own_keys is NO_KEYS
    await _add(database)
    caller = await callers.identify(token, NOW + 1000)
    assert dict(caller.own_keys) == {"acme": "pk_1"}
    assert caller.own_sealed.open("pk_1", "acc", secrets=(SECRET,)) == TEXT
    assert TEXT not in repr(caller)
    await _revoke(database, "pk_1")
    assert dict((await callers.identify(token, NOW + 2000)).own_keys) == {}
