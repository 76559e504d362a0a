"""Members, invitations, rotated keys and sessions: who may make whom what, and what ends with it."""

import secrets
from collections.abc import AsyncIterator

import pytest
from sqlmodel import Session

from metering.database import Database
from policy import invitations, key_rotation, keys, links, members, playground, sessions
from policy.caller import Callers
from policy.errors import Forbidden, InvalidField, Unauthenticated
from policy.people_tables import Person
from policy.tables import Member
from tests import books

NOW = books.START
PEPPER = b"pepper"
DAY_MS = 86_400_000


@pytest.fixture
async def database(migrated_database_url: str) -> AsyncIterator[Database]:
    async with books.opened(migrated_database_url) as database:
        await books.fund(database, "acc", 10_000_000)
        await books.fund(database, "other", 10_000_000)
        for role in ("owner", "admin", "developer"):
            await database.write(_move_in, role, "acc")
        await database.write(_move_in, "stranger", "other", role="owner")
        yield database


def _move_in(session: Session, who: str, account_id: str, role: str | None = None) -> None:
    person = Person(id=f"per_{who}", email=f"{who}@example.com", verified_at=NOW, created_at=NOW, updated_at=NOW)
    session.add(person)
    session.flush()
    session.add(Member(id=f"mem_{who}", account_id=account_id, email=person.email, role=role or who, person_id=person.id, created_at=NOW))
    session.flush()
    sessions.begin(session, person.id, token=f"token-{who}", agent="Firefox on Linux", now=NOW)


async def signed_in(database: Database, who: str, at: int = NOW + 1) -> sessions.Visit | None:
    return await database.read(sessions.find, f"token-{who}", now=at)


async def test_a_change_of_role_ends_every_session_of_that_person(database: Database) -> None:
    assert (await signed_in(database, "developer")) is not None
    await database.write(members.change_role, "acc", "mem_developer", role="viewer", by="owner")
    assert await signed_in(database, "developer") is None
    assert await signed_in(database, "admin") is not None


async def test_an_admin_neither_makes_nor_changes_an_owner(database: Database) -> None:
    for member_id, role in (("mem_developer", "owner"), ("mem_owner", "viewer")):
        with pytest.raises(Forbidden, match="Only an owner"):
            await database.write(members.change_role, "acc", member_id, role=role, by="admin")
    with pytest.raises(Forbidden, match="Only an owner"):
        await database.write(members.remove, "acc", "mem_owner", by="admin", now=NOW)
    with pytest.raises(Forbidden, match="Only the owner and admins"):
        await database.write(members.change_role, "acc", "mem_admin", role="viewer", by="developer")


async def test_the_last_owner_stays_one(database: Database) -> None:
    for deed in (
        lambda s: members.change_role(s, "acc", "mem_owner", role="viewer", by="owner"),
        lambda s: members.remove(s, "acc", "mem_owner", by="owner", now=NOW),
    ):
        with pytest.raises(Forbidden, match="only owner"):
            await database.write(deed)
    await database.write(members.change_role, "acc", "mem_admin", role="owner", by="owner")
    assert await database.write(members.change_role, "acc", "mem_owner", role="viewer", by="owner") is not None


async def test_a_member_of_another_account_is_not_found(database: Database) -> None:
    assert await database.write(members.change_role, "acc", "mem_stranger", role="viewer", by="owner") is None
    assert await database.write(members.remove, "acc", "mem_stranger", by="owner", now=NOW) is None
    assert await signed_in(database, "stranger") is not None


async def test_who_is_removed_leaves_no_key_behind(database: Database) -> None:
    token = keys.generate(secrets.randbelow)
    new = keys.NewKey(account_id="acc", kind="inference", name="theirs", member_id="mem_developer")
    await database.write(keys.create, new, token=token, pepper=PEPPER, id="key_theirs", now=NOW)
    await database.write(members.remove, "acc", "mem_developer", by="admin", now=NOW)
    with pytest.raises(Unauthenticated, match="revoked"):
        await Callers(database, PEPPER).identify(token, NOW)


async def invite(database: Database, email: str = "new@example.com", **more: str) -> str:
    token = links.token(secrets.token_bytes)
    asked = {"email": email, "role": "viewer", "by": "admin", "inviter": "per_admin", **more}
    await database.write(invitations.invite, "acc", token=token, id=f"lnk_{token[:8]}", now=NOW, **asked)
    return token


def _new_id(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(4)}"


async def accept(database: Database, token: str, person: Person, now: int = NOW) -> str | None:
    return await database.write(invitations.accept, token, person, new_id=_new_id, now=now)


def person(email: str, verified_at: int | None = NOW) -> Person:
    return Person(id="per_stranger", email=email, verified_at=verified_at, created_at=NOW, updated_at=NOW)


async def test_an_invitation_is_good_once_for_its_confirmed_address_alone(database: Database) -> None:
    token = await invite(database, "stranger@example.com")
    for wrong in (person("developer@example.com"), person("stranger@example.com", verified_at=None)):
        with pytest.raises(Forbidden, match="another address"):
            await accept(database, token, wrong)
    assert await accept(database, token, person("stranger@example.com")) == "acc"
    assert await accept(database, token, person("stranger@example.com")) is None
    found = await database.read(sessions.memberships_of, "per_stranger")
    assert {(each.account_id, each.role) for each in found} == {("other", "owner"), ("acc", "viewer")}


async def test_an_invitation_ends_after_seven_days_or_when_it_is_withdrawn(database: Database) -> None:
    token = await invite(database, "stranger@example.com")
    assert await accept(database, token, person("stranger@example.com"), NOW + 7 * DAY_MS) is None
    [waiting] = await database.read(invitations.pending, "acc", now=NOW + 1)
    assert not await database.write(invitations.withdraw, "other", waiting.id, now=NOW)
    assert await database.write(invitations.withdraw, "acc", waiting.id, now=NOW)
    assert await accept(database, token, person("stranger@example.com")) is None


async def test_who_is_a_member_already_is_not_invited_and_nobody_is_made_more_than_the_inviter_may(database: Database) -> None:
    with pytest.raises(InvalidField, match="member of this account already"):
        await invite(database, "developer@example.com")
    with pytest.raises(Forbidden, match="Only an owner"):
        await invite(database, role="owner")


async def rotated(database: Database, hours: int, *, by: str = "owner", kind: str = "inference") -> tuple[str, str]:
    old, token = keys.generate(secrets.randbelow), keys.generate(secrets.randbelow)
    new = keys.NewKey(account_id="acc", kind=kind, name="app", limit=5_000, reset="daily", logging="none", requests_per_minute=7)
    await database.write(keys.create, new, token=old, pepper=PEPPER, id="key_old", now=NOW)
    asked = {"token": token, "pepper": PEPPER, "id": "key_new", "by": by, "grace_hours": hours}
    await database.write(key_rotation.rotate, "acc", "key_old", now=NOW, **asked)
    return old, token


async def test_a_rotated_key_has_all_that_the_old_one_had_in_the_same_budget(database: Database) -> None:
    old, token = await rotated(database, 1)
    callers = Callers(database, PEPPER)
    before, after = await callers.identify(old, NOW), await callers.identify(token, NOW)
    assert (after.budgets, after.level, after.requests_per_minute) == (before.budgets, "none", 7)
    with pytest.raises(Unauthenticated, match="expired"):
        await Callers(database, PEPPER).identify(old, NOW + 3_600_000)


async def test_a_key_that_is_rotated_at_once_is_dead(database: Database) -> None:
    old, token = await rotated(database, 0)
    with pytest.raises(Unauthenticated, match="revoked"):
        await Callers(database, PEPPER).identify(old, NOW)
    assert (await Callers(database, PEPPER).identify(token, NOW)).key_id == "key_new"


async def test_only_an_owner_rotates_more_than_an_inference_key(database: Database) -> None:
    with pytest.raises(Forbidden, match="Only the owner"):
        await rotated(database, 0, by="management", kind="management")
    asked = {"token": "t", "pepper": PEPPER, "id": "key_new", "by": "owner", "grace_hours": 0}
    with pytest.raises(ValueError, match="no such key"):
        await database.write(key_rotation.rotate, "other", "key_old", now=NOW, **asked)


async def test_a_playground_has_one_key_at_a_time_and_for_an_hour(database: Database) -> None:
    tokens = [keys.generate(secrets.randbelow) for _ in range(2)]
    for number, token in enumerate(tokens):
        await database.write(playground.make_key, "acc", member_id="mem_owner", token=token, pepper=PEPPER, id=f"key_{number}", now=NOW)
    callers = Callers(database, PEPPER)
    with pytest.raises(Unauthenticated, match="revoked"):
        await callers.identify(tokens[0], NOW)
    assert (await callers.identify(tokens[1], NOW)).kind == "inference"
    with pytest.raises(Unauthenticated, match="expired"):
        await callers.identify(tokens[1], NOW + playground.LIFETIME_MS)


async def test_a_session_ends_by_idleness_by_age_and_with_its_person(database: Database) -> None:
    assert await signed_in(database, "owner", NOW + sessions.IDLE_MS - 1) is not None
    assert await signed_in(database, "owner", NOW + sessions.IDLE_MS) is None
    digest = sessions.digest("token-owner")
    for days in range(1, 31):
        await database.write(sessions.seen, digest, now=NOW + days * DAY_MS - 1)
    assert await signed_in(database, "owner", NOW + sessions.AGE_MS - 1) is not None
    assert await signed_in(database, "owner", NOW + sessions.AGE_MS) is None


async def test_a_renewed_session_is_worth_nothing_under_its_old_token(database: Database) -> None:
    await database.write(sessions.renew, sessions.digest("token-owner"), token="token-new", now=NOW + 5)
    assert await signed_in(database, "owner") is None
    found = await database.read(sessions.find, "token-new", now=NOW + 6)
    assert found is not None
    assert found.confirmed_at == NOW + 5


async def test_nobody_looks_at_an_account_in_which_they_have_no_role(database: Database) -> None:
    digest = sessions.digest("token-owner")
    assert not await database.write(sessions.choose, digest, "other")
    assert await database.write(sessions.choose, digest, "acc")


async def test_of_fifty_sessions_the_oldest_makes_room(database: Database) -> None:
    for number in range(sessions.SESSIONS_MAX):
        await database.write(sessions.begin, "per_admin", token=f"token-{number}", agent="Firefox on Linux", now=NOW + 1 + number)
    assert await signed_in(database, "admin", NOW + 60) is None
    assert len(await database.read(sessions.listed, "per_admin", now=NOW + 60)) == sessions.SESSIONS_MAX
