"""Keys: a typing error is seen without a database, and what is stored never lets anybody in."""

import random
import secrets
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlmodel import Session

from metering import ledger
from metering.database import open_database
from metering.errors import UnknownAccount
from policy import keys
from policy.caller import Callers
from policy.errors import Unauthenticated

BASE62 = string.digits + string.ascii_letters
PEPPER = keys.derive("a-secret-for-tests-of-40-characters-long", "key-pepper")
NOW = 1_760_000_000_000
SEEDS = st.integers(0, 2**32).map(lambda seed: keys.generate(random.Random(seed).randrange))


@given(token=SEEDS)
def test_a_new_key_is_well_formed(token: str) -> None:
    assert keys.well_formed(token)
    assert len(token) == 55
    assert token.startswith("sk-tw-v1-")


@given(token=SEEDS, place=st.integers(9, 54), other=st.sampled_from(BASE62))
def test_one_wrong_character_is_seen(token: str, place: int, other: str) -> None:
    mistyped = token[:place] + other + token[place + 1 :]
    assert keys.well_formed(mistyped) == (mistyped == token)


@given(token=SEEDS, place=st.integers(9, 53))
def test_two_swapped_characters_are_seen(token: str, place: int) -> None:
    swapped = token[:place] + token[place + 1] + token[place] + token[place + 2 :]
    assert keys.well_formed(swapped) == (swapped == token)


@given(token=SEEDS, place=st.integers(0, 54), more=st.text(min_size=1, max_size=3))
def test_one_character_more_or_less_is_seen(token: str, place: int, more: str) -> None:
    assert not keys.well_formed(token[:place] + more + token[place:])
    assert not keys.well_formed(token[:place] + token[place + 1 :])


@given(text=st.text(max_size=80))
def test_no_other_text_is_a_key(text: str) -> None:
    assert not keys.well_formed(text)
    assert not keys.well_formed("sk-tw-v1-" + text)


@pytest.mark.parametrize(
    "change", [str.upper, str.lower, lambda token: token + "\n", lambda token: "\n" + token, lambda token: f" {token}"]
)
def test_a_key_is_taken_to_the_letter(change: object) -> None:
    assert callable(change)
    assert not keys.well_formed(change(keys.generate(random.Random(1).randrange)))


def test_keys_do_not_repeat() -> None:
    assert len({keys.generate(secrets.randbelow) for _ in range(1000)}) == 1000


def test_secrets_for_different_purposes_and_installations_differ() -> None:
    derived = {keys.derive(secret, purpose) for secret in ("a" * 32, "b" * 32) for purpose in ("key-pepper", "sessions")}
    assert len(derived) == 4
    assert {len(each) for each in derived} == {32}


async def test_what_is_stored_never_authenticates(migrated_database_url: str) -> None:
    """Neither the digest, nor the label, nor the id, nor any mixture of them (pass-the-hash)."""
    database = open_database(migrated_database_url)
    try:
        token = keys.generate(secrets.randbelow)
        row = await database.write(_create, token)
        stored = str(row.model_dump())
        assert token not in stored
        assert token[9:49] not in stored
        callers = Callers(database, PEPPER)
        for guess in (row.digest, row.label, row.id, f"sk-tw-v1-{row.digest[:46]}", row.digest.upper(), f"{token[:12]}{row.digest}"[:55]):
            with pytest.raises(Unauthenticated):
                await callers.identify(guess, NOW)
        with pytest.raises(Unauthenticated):
            await Callers(database, keys.derive("another-secret-of-32-characters!", "key-pepper")).identify(token, NOW)
        assert (await callers.identify(token, NOW)).key_id == row.id
    finally:
        await database.aclose()


async def test_revoking_twice_keeps_the_first_moment_and_an_unknown_key_is_false(migrated_database_url: str) -> None:
    database = open_database(migrated_database_url)
    try:
        await database.write(_create, keys.generate(secrets.randbelow))
        assert [await database.write(keys.revoke, key_id="key_1", now=NOW + later) for later in (1, 2)] == [True, True]
        [row] = await database.read(keys.listed, "acc_1")
        assert row.revoked_at == NOW + 1
        assert not await database.write(keys.revoke, key_id="key_2", now=NOW)
    finally:
        await database.aclose()


async def test_a_key_needs_an_account_that_exists(migrated_database_url: str) -> None:
    database = open_database(migrated_database_url)
    try:
        new = keys.NewKey(account_id="acc_nobody", kind="inference", name="")
        with pytest.raises(UnknownAccount):
            await database.write(keys.create, new, token=keys.generate(secrets.randbelow), pepper=PEPPER, id="key_1", now=NOW)
    finally:
        await database.aclose()


def _create(session: Session, token: str) -> keys.Key:
    ledger.open_account(session, id="acc_1", now=NOW)
    new = keys.NewKey(account_id="acc_1", kind="inference", name="n")
    return keys.create(session, new, token=token, pepper=PEPPER, id="key_1", now=NOW)
