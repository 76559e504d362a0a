"""Whom single sign-on lets in: bound by issuer and subject, never by an address alone, and never into somebody else's account."""

import pytest

from metering.database import Database
from policy import people, sessions, single_sign_on
from policy.errors import InvalidField, SignInRefused
from policy.people_tables import Person
from policy.sign_in import WRONG
from policy.single_sign_on import Claimed
from tests.doors import CLIENT, COUNT, EMAIL, NOW, PASSWORD, Doorway, doorway


@pytest.fixture
def at(database: Database) -> Doorway:
    return doorway(database)


def who(email: str = EMAIL, *, subject: str = "user-1", issuer: str = "https://id.example", verified: bool = True) -> Claimed:
    return Claimed(issuer=issuer, subject=subject, email=email, email_verified=verified)


async def entered(at: Doorway, claimed: Claimed) -> str:
    return await at.database.write(single_sign_on.enter, claimed, new_id=lambda kind: f"{kind}_{next(COUNT):06d}", now=NOW)


async def connected(at: Doorway, claimed: Claimed, person_id: str) -> None:
    await at.database.write(single_sign_on.connect, claimed, person_id, now=NOW)


async def test_a_new_person_gets_an_account_and_is_known_by_issuer_and_subject_from_then_on(at: Doorway) -> None:
    first = await entered(at, who(" Ann@Example.com"))
    (mine,) = await at.database.read(sessions.memberships_of, first)
    assert (mine.role, mine.name) == ("owner", EMAIL)
    assert await entered(at, who("moved@elsewhere.example", verified=False)) == first
    assert (await at.found()).password is None


async def test_an_unverified_address_makes_nobody(at: Doorway) -> None:
    with pytest.raises(SignInRefused, match="not verified"):
        await entered(at, who(verified=False))
    assert await at.database.read(people.by_email, EMAIL) is None


@pytest.mark.parametrize("subject", ["user-1", "user-2"])
async def test_an_address_that_has_an_account_here_is_not_opened_by_an_issuer_that_claims_it(at: Doorway, subject: str) -> None:
    await at.person()
    with pytest.raises(SignInRefused, match="Sign in to it first"):
        await entered(at, who(subject=subject))


async def test_the_same_subject_at_another_issuer_is_another_person(at: Doorway) -> None:
    first = await entered(at, who())
    with pytest.raises(SignInRefused, match="Sign in to it first"):
        await entered(at, who(issuer="https://evil.example"))
    assert await entered(at, who("bob@example.com", issuer="https://evil.example")) != first


async def test_a_password_that_somebody_else_chose_for_an_unconfirmed_address_is_void_when_its_owner_comes(at: Doorway) -> None:
    letter = await at.door.sign_up(email=EMAIL, password=PASSWORD, client=CLIENT, now=NOW)
    assert letter is not None
    person_id = await entered(at, who())
    with pytest.raises(SignInRefused, match=WRONG):
        await at.enter()
    with pytest.raises(SignInRefused):
        await at.door.verify(token=letter.token, password=PASSWORD, client=CLIENT, now=NOW)
    assert (await at.found()).id == person_id


async def test_somebody_who_is_signed_in_connects_their_own_verified_address_and_then_comes_in_by_it(at: Doorway) -> None:
    person = await at.person()
    await connected(at, who(), person.id)
    await connected(at, who(), person.id)
    assert await entered(at, who()) == person.id
    assert await at.enter() == person.id
    assert await at.database.write(single_sign_on.disconnect, person.id, issuer="https://id.example")
    with pytest.raises(SignInRefused):
        await entered(at, who())


async def test_nobody_connects_another_address_an_unverified_one_or_somebody_elses_identity(at: Doorway) -> None:
    ann, bob = await at.person(), await at.person("bob@example.com")
    with pytest.raises(InvalidField, match="another address"):
        await connected(at, who("bob@example.com"), ann.id)
    with pytest.raises(InvalidField, match="not verified"):
        await connected(at, who(verified=False), ann.id)
    await connected(at, who("bob@example.com"), bob.id)
    with pytest.raises(InvalidField, match="another person"):
        await connected(at, who(), ann.id)
    assert not await at.database.write(single_sign_on.disconnect, ann.id, issuer="https://id.example")


async def test_a_blocked_person_is_not_let_in_by_single_sign_on(at: Doorway) -> None:
    person_id = await entered(at, who())
    await at.database.write(lambda session: people.block(session, session.get(Person, person_id), now=NOW))  # type: ignore[arg-type]
    with pytest.raises(SignInRefused, match="blocked"):
        await entered(at, who())


@pytest.mark.parametrize("email", ["", "nonsense", "a@b\r\nBcc: c@d"])
async def test_an_address_that_is_none_makes_nobody(at: Doorway, email: str) -> None:
    with pytest.raises(SignInRefused, match="no e-mail address"):
        await entered(at, who(email))
