"""What people set of themselves, what they want to be mailed, and that they go with their last account, or unconfirmed after a week."""

import pytest
from sqlmodel import Session, SQLModel, select

from metering.database import Database
from policy import account_copy, account_states, members, passkeys, people, people_end, sessions, single_sign_on
from policy.account_states import WINDOW_DAYS
from policy.errors import InvalidField
from policy.people_tables import Identity, Link, MailConsent, Passkey, Person, SignedIn
from policy.retention import enforce
from policy.single_sign_on import Claimed
from policy.tables import Member
from tests.doors import CLIENT, EMAIL, NOW, PASSWORD, Doorway, doorway
from tests.passkey import Device

DAY = 86_400_000
THEIRS: tuple[type[SQLModel], ...] = (Person, Passkey, Identity, SignedIn, Link, MailConsent)
ZONES = frozenset(("UTC", "Europe/Berlin"))


@pytest.fixture
def at(database: Database) -> Doorway:
    return doorway(database)


async def furnished(at: Doorway, email: str) -> Person:
    """Somebody with one of everything."""
    person, device = await at.person(email), Device("https://tollway.example", "tollway.example", id=email.encode())
    options, challenge = at.passkeys.registration(person, [], now=NOW)
    made = at.passkeys.registered(person.id, answer=device.register(options), challenge=challenge, name="", now=NOW)
    await at.database.write(passkeys.add, made)
    who = Claimed(issuer="https://id.example", subject=email, email=email, email_verified=True)
    await at.database.write(single_sign_on.connect, who, person.id, now=NOW)
    await at.database.write(sessions.begin, person.id, token=f"token of {email}", agent="Test", now=NOW)
    await at.database.write(people.consent, person.id, given=True, source="settings", id=f"con_{email}", now=NOW)
    await at.door.ask_for_reset(email=email, client=CLIENT, now=NOW)
    await at.changes.begin_totp(person.id)
    return person


async def kept(at: Doorway) -> dict[str, int]:
    def counts(session: Session) -> dict[str, int]:
        return {str(table.__tablename__): len(session.exec(select(table)).all()) for table in THEIRS}

    return await at.database.read(counts)


async def purge(at: Doorway, account_id: str) -> None:
    await at.database.write(account_states.close, account_id, by="operator", waive=False, reason=None, now=NOW)
    await account_states.purge_due(at.database, now=NOW + WINDOW_DAYS * DAY)


async def test_a_person_goes_with_their_last_account_with_all_that_is_theirs_and_the_neighbour_stays(at: Doorway) -> None:
    ann, bob = await furnished(at, EMAIL), await furnished(at, "bob@example.com")
    (mine,) = await at.database.read(sessions.memberships_of, ann.id)
    (bobs,) = await at.database.read(sessions.memberships_of, bob.id)
    both = await kept(at)
    await at.database.write(lambda session: members.add(session, id="mem_x", account_id=mine.account_id, email="b", role="viewer", now=NOW))
    await at.database.write(_join, "mem_x", bob.id)
    await purge(at, mine.account_id)
    assert await kept(at) == {table: count // 2 for table, count in both.items()}
    assert await at.database.read(people.by_email, EMAIL) is None
    assert (await at.found("bob@example.com")).id == bob.id
    await purge(at, bobs.account_id)
    assert set((await kept(at)).values()) == {0}


async def test_who_runs_the_installation_stays_without_an_account(at: Doorway) -> None:
    ann = await furnished(at, EMAIL)
    await at.database.write(lambda session: people.make_operator(session, session.get(Person, ann.id), operator=True, now=NOW))  # type: ignore[arg-type]
    (mine,) = await at.database.read(sessions.memberships_of, ann.id)
    await purge(at, mine.account_id)
    assert (await at.found()).operator == 1


async def test_who_never_confirmed_their_address_is_forgotten_after_a_week_and_others_are_not(at: Doorway) -> None:
    await at.door.sign_up(email="new@example.com", password=PASSWORD, client=CLIENT, now=NOW)
    await at.person()
    week = people_end.UNCONFIRMED_DAYS * DAY
    await enforce(at.database, now=NOW + week)
    assert await at.database.read(people.by_email, "new@example.com") is not None
    assert (await enforce(at.database, now=NOW + week + 1))["people"] == 1
    assert await at.database.read(people.by_email, "new@example.com") is None
    assert await at.database.read(people.by_email, EMAIL) is not None


async def test_the_copy_of_an_account_has_its_people_without_their_secrets_and_nobody_else(at: Doorway) -> None:
    ann = await furnished(at, EMAIL)
    await furnished(at, "bob@example.com")
    (mine,) = await at.database.read(sessions.memberships_of, ann.id)
    rows, after = await at.database.read(account_copy.page, "person", mine.account_id, after=None)
    assert ([row["email"] for row in rows], after) == ([EMAIL], None)
    assert {"password", "totp"}.isdisjoint(rows[0])
    assert {"name", "time_zone", "theme", "verified_at"} <= set(rows[0])


async def test_a_profile_is_set_field_by_field_and_a_wrong_one_changes_nothing(at: Doorway) -> None:
    person = await at.person()
    good = {"name": " Ann ", "time_zone": "Europe/Berlin", "theme": "dark"}
    await at.database.write(people.set_profile, person.id, **good, known_zones=ZONES, now=NOW)
    for field, value in (("name", "x" * 101), ("name", "a\nb"), ("time_zone", "Mars/Crater"), ("theme", "pink"), ("theme", "")):
        with pytest.raises(InvalidField, match=field):
            await at.database.write(people.set_profile, person.id, **{**good, field: value}, known_zones=ZONES, now=NOW)
    found = await at.found()
    assert (found.name, found.time_zone, found.theme) == ("Ann", "Europe/Berlin", "dark")


async def test_nobody_is_mailed_news_without_a_yes_and_the_newest_word_counts(at: Doorway) -> None:
    person = await at.person()
    assert not await at.database.read(people.wants_mails, person.id)
    for number, given in enumerate((False, True, True, False)):
        changed = await at.database.write(people.consent, person.id, given=given, source="settings", id=f"con_{number}", now=NOW + number)
        assert changed == (number in (1, 3))
        assert await at.database.read(people.wants_mails, person.id) is given
    assert not await at.database.write(people.consent, "per_none", given=True, source="x", id="con_x", now=NOW)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ann",
        "ann@",
        "@b",
        "a b@c.d",
        "a@b c",
        "a@b\r\nBcc: c@d",
        "a@-b.c",
        "a@b..c",
        "ä@b.c",
        "a\x00@b.c",
        "<a@b.c>",
        "a,b@c.d",
        "x" * 65 + "@b.c",
    ],
)
def test_what_is_no_address_is_refused_with_its_field(text: str) -> None:
    with pytest.raises(InvalidField, match="email"):
        people.address(text)


@pytest.mark.parametrize(
    ("text", "kept"), [(" Ann@Example.COM ", "ann@example.com"), ("demo@localhost", "demo@localhost"), ("o'x+y@a.b.c", "o'x+y@a.b.c")]
)
def test_an_address_is_kept_in_lower_case(text: str, kept: str) -> None:
    assert people.address(text) == kept


def _join(session: Session, member_id: str, person_id: str) -> None:
    row = session.get(Member, member_id)
    assert row is not None
    row.person_id = person_id
