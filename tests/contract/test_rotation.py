"""A new secret on both databases: what the old one sealed opens all the while, is sealed again once, and API keys follow when used."""

import itertools
import secrets
from typing import Any

import pytest
from sqlmodel import Session

from metering.database import Database
from policy import idempotency, keys, own_keys, resealing, totp, vault
from policy.caller import FRESH_MS, Callers
from policy.content_store import DAY_MS, key_place
from policy.errors import SealBroken, Unauthenticated
from policy.idempotency import Claimed, OtherBody, Running
from policy.keyring import Keyring, keyring
from policy.people_tables import Person
from policy.privacy_tables import ContentKey
from policy.resealing import PAGE, Counted
from policy.tables import ProviderKey
from tests import books

OLD, NEW, LOST = "o" * 40, "n" * 40, "l" * 40
BOTH = (NEW, OLD)
NOW = books.START
ROWS = PAGE + 5
_numbers = itertools.count(1)


def numbered(size: int) -> bytes:
    """Never the same twice, as a nonce must be."""
    return next(_numbers).to_bytes(size)


def ring(*known: str) -> Keyring:
    return keyring("", known, numbered)


def pepper(secret: str) -> bytes:
    return keys.derive(secret, "key-pepper")


async def new_key(database: Database, id: str = "key_1", secret: str = OLD, **fields: Any) -> str:
    token = keys.generate(secrets.randbelow)
    new = keys.NewKey(account_id="acc", kind="owner", name="", **fields)
    await database.write(keys.create, new, token=token, pepper=pepper(secret), id=id, now=NOW)
    return token


async def digest_of(url: str, id: str = "key_1") -> Any:
    [(digest,)] = await books.sql(url, f"SELECT digest FROM key WHERE id = '{id}'")
    return digest


async def test_a_key_of_the_secret_before_works_and_is_hashed_anew_on_its_first_use(database: Database, migrated_database_url: str) -> None:
    await books.fund(database, "acc", 0)
    token = await new_key(database)
    assert await database.read(keys.counted, pepper=keys.pepper_name(pepper(NEW)), now=NOW) == (0, 1)
    callers = Callers(database, pepper(NEW), older=(pepper(LOST), pepper(OLD)))
    assert (await callers.identify(token, NOW)).key_id == "key_1"
    assert await digest_of(migrated_database_url) == keys.digest(token, pepper(NEW))
    assert await database.read(keys.counted, pepper=keys.pepper_name(pepper(NEW)), now=NOW) == (1, 0)
    assert (await Callers(database, pepper(NEW)).identify(token, NOW)).key_id == "key_1"
    with pytest.raises(Unauthenticated):
        await Callers(database, pepper(OLD)).identify(token, NOW)


async def test_a_row_from_before_peppers_had_names_is_named_on_its_first_use(database: Database, migrated_database_url: str) -> None:
    await books.fund(database, "acc", 0)
    token = await new_key(database)
    await books.sql(migrated_database_url, "UPDATE key SET pepper = NULL")
    before = await digest_of(migrated_database_url)
    assert await database.read(keys.counted, pepper=keys.pepper_name(pepper(OLD)), now=NOW) == (0, 1)
    await Callers(database, pepper(OLD)).identify(token, NOW)
    assert await database.read(keys.counted, pepper=keys.pepper_name(pepper(OLD)), now=NOW) == (1, 0)
    assert await digest_of(migrated_database_url) == before


async def test_processes_of_which_each_has_the_others_secret_as_the_one_before_share_a_key(database: Database) -> None:
    await books.fund(database, "acc", 0)
    token = await new_key(database)
    there, here = Callers(database, pepper(OLD), older=(pepper(NEW),)), Callers(database, pepper(NEW), older=(pepper(OLD),))
    for turn in range(6):
        for callers in (there, here):
            assert (await callers.identify(token, NOW + turn * FRESH_MS)).key_id == "key_1"


async def test_a_revoked_and_an_expired_key_wait_for_nothing(database: Database) -> None:
    await books.fund(database, "acc", 0)
    await new_key(database, "key_1", expires_at=NOW)
    await new_key(database, "key_2")
    await database.write(keys.revoke, key_id="key_2", now=NOW)
    await new_key(database, "key_3", expires_at=NOW + 1)
    assert [key.id for key in await database.read(keys.waiting, pepper=keys.pepper_name(pepper(NEW)), now=NOW)] == ["key_3"]


async def seeded(database: Database) -> None:
    """Sealed rows of every kind, a page and a few more of each."""
    await books.fund(database, "acc", 0)
    old = ring(OLD)

    def work(session: Session) -> None:
        for number in range(ROWS):
            id = f"pk_{number:04}"
            sealed = vault.seal(f"sk-{id}", own_keys.place(id, "acc"), secret=OLD, random_bytes=numbered)
            session.add(ProviderKey(id=id, account_id="acc", provider=id, label="l", sealed=sealed, created_at=NOW))
            person = Person(id=f"per_{number:04}", email=f"{number}@example.com", created_at=NOW, updated_at=NOW)
            person.totp = vault.seal(f"TOTP{number}", totp.place(person.id), secret=OLD, random_bytes=numbered)
            session.add(person)
            wrapped = old.wrap(number.to_bytes(32), key_place("acc", f"{number:04}"))
            session.add(ContentKey(account_id="acc", id=f"{number:04}", wrapped=wrapped, created_at=NOW))

    await database.write(work)


async def walked(database: Database, *known: str, write: bool = True) -> dict[str, Counted]:
    return {kind.name: await resealing.walk(database, kind, write=write) for kind in resealing.kinds(known, ring(*known), numbered)}


async def opened(url: str, *known: str) -> int:
    """How many rows open; SealBroken if one does not."""
    found = 0
    for id, sealed in await books.sql(url, "SELECT id, sealed FROM provider_key WHERE revoked_at IS NULL"):
        assert vault.unseal(str(sealed), own_keys.place(str(id), "acc"), secrets=known) == f"sk-{id}"
        found += 1
    for id, sealed in await books.sql(url, "SELECT id, totp FROM person"):
        assert vault.unseal(str(sealed), totp.place(str(id)), secrets=known) == f"TOTP{int(str(id)[4:])}"
        found += 1
    for id, wrapped in await books.sql(url, "SELECT id, wrapped FROM content_key"):
        assert isinstance(wrapped, bytes)
        assert ring(*known).unwrap(wrapped, key_place("acc", str(id))) == int(str(id)).to_bytes(32)
        found += 1
    return found


async def test_everything_sealed_is_sealed_again_once_and_nothing_is_left_under_the_old_secret(
    database: Database, migrated_database_url: str
) -> None:
    await seeded(database)
    assert await walked(database, *BOTH, write=False) == dict.fromkeys(KINDS, Counted(waiting=ROWS, named=[]))
    assert await opened(migrated_database_url, OLD) == 3 * ROWS, "counting changes nothing"
    assert await walked(database, *BOTH) == dict.fromkeys(KINDS, Counted(current=ROWS, rotated=ROWS, named=[]))
    assert await opened(migrated_database_url, NEW) == 3 * ROWS
    before = [await books.sql(migrated_database_url, f"SELECT * FROM {table} ORDER BY id") for table in TABLES]
    assert await walked(database, *BOTH) == dict.fromkeys(KINDS, Counted(current=ROWS, named=[]))
    assert [await books.sql(migrated_database_url, f"SELECT * FROM {table} ORDER BY id") for table in TABLES] == before


KINDS = ("provider_keys", "one_time_passwords", "content_keys")
TABLES = ("provider_key", "person", "content_key")


async def test_a_run_that_was_cut_off_leaves_all_to_be_opened_and_the_next_one_goes_on(
    database: Database, migrated_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await seeded(database)
    written: Any = resealing._written
    monkeypatch.setattr(resealing, "_written", lambda session, kind, changes: written(session, kind, changes[: PAGE // 2]) and 1 // 0)
    for kind in resealing.kinds(BOTH, ring(*BOTH), numbered):
        with pytest.raises(ZeroDivisionError):
            await resealing.walk(database, kind, write=True)
    monkeypatch.undo()
    assert await opened(migrated_database_url, *BOTH) == 3 * ROWS
    await walked(database, *BOTH)
    assert await opened(migrated_database_url, NEW) == 3 * ROWS


async def test_what_changes_between_reading_and_writing_stays_as_it_was_changed(database: Database, migrated_database_url: str) -> None:
    await seeded(database)
    kind, *_ = resealing.kinds(BOTH, ring(*BOTH), numbered)
    rows = await database.read(resealing._page, kind, "", "")
    change = resealing._change(kind, rows[0], Counted(named=[]))
    await database.write(own_keys.revoke, id=rows[0].id, account_id="acc", now=NOW)
    assert change is not None
    assert await database.write(resealing._written, kind, [change]) == 0
    [(sealed,)] = await books.sql(migrated_database_url, f"SELECT sealed FROM provider_key WHERE id = '{rows[0].id}'")
    assert sealed == "", "a key that was revoked does not come back"


async def test_what_opens_under_no_secret_is_counted_named_and_left(database: Database, migrated_database_url: str) -> None:
    await seeded(database)
    await books.sql(migrated_database_url, "UPDATE provider_key SET sealed = 'v1:AAAA' WHERE id = 'pk_0007'")
    found = (await walked(database, *BOTH))["provider_keys"]
    assert (found.current, found.broken, found.named) == (ROWS - 1, 1, ["provider_keys: pk_0007 of acc"])
    all_lost = await walked(database, LOST, write=False)
    assert {name: (count.current, count.broken) for name, count in all_lost.items()} == dict.fromkeys(KINDS, (0, ROWS))
    assert max(len(count.named) for count in all_lost.values()) == resealing.NAMED_MAX
    with pytest.raises(SealBroken):
        await opened(migrated_database_url, *BOTH)


def claim(*known: str, body: bytes = b"{}") -> idempotency.Claim:
    return idempotency.claim_of(b"key", body, account_id="acc", route="chat/completions", secrets=known)


async def test_an_idempotency_key_is_the_same_after_a_rotation_and_back(database: Database) -> None:
    await books.fund(database, "acc", 0)
    assert isinstance(await database.write(idempotency.claim, claim(OLD), generation_id="gen_1", now=NOW), Claimed)
    for number, known in enumerate([BOTH, (NEW, LOST, OLD), (NEW,), (OLD, NEW), (OLD,), BOTH]):
        found = await database.write(idempotency.claim, claim(*known), generation_id=f"again_{number}", now=NOW + number)
        assert found == Running("gen_1"), known
    other = await database.write(idempotency.claim, claim(OLD, NEW, body=b"[]"), generation_id="gen_3", now=NOW + 9)
    assert other == OtherBody("gen_1")
    assert await database.write(idempotency.claim, claim(*BOTH), generation_id="gen_5", now=NOW + 10) == Running("gen_1")
    assert await database.write(idempotency.claim, claim(*BOTH), generation_id="gen_4", now=NOW + DAY_MS) == Claimed()
