"""Passkeys, with a device of the test's own: only a verified one of this site signs in, each answer once, and no copied one."""

import json

import pytest

from metering.database import Database
from policy import passkeys, people
from policy.errors import InvalidField, SignInRefused
from policy.passkeys import PER_PERSON_MAX, REFUSED, Passkeys
from policy.people_tables import Person
from tests.doors import MINUTE, NOW, Doorway, doorway
from tests.passkey import PRESENT, Device

ORIGIN, HOST = "https://tollway.example", "tollway.example"


@pytest.fixture
def at(database: Database) -> Doorway:
    return doorway(database, origin=ORIGIN)


async def added(at: Doorway, person: Person, device: Device, now: int = NOW) -> None:
    options, challenge = at.passkeys.registration(person, [], now=now)
    made = at.passkeys.registered(person.id, answer=device.register(options), challenge=challenge, name=" My phone ", now=now)
    await at.database.write(passkeys.add, made)


async def entered(at: Doorway, answer: str, challenge: str, now: int = NOW) -> str:
    return await at.database.write(at.passkeys.authenticated, answer=answer, challenge=challenge, now=now)


async def test_a_passkey_signs_its_person_in_and_says_when_it_was_used(at: Doorway) -> None:
    person, device = await at.person(), Device(ORIGIN, HOST)
    await added(at, person, device)
    options, challenge = at.passkeys.authentication(now=NOW)
    assert await entered(at, device.sign_in(options), challenge, NOW + 5) == person.id
    (row,) = await at.database.read(passkeys.listed, person.id)
    assert (row.name, row.sign_count, row.used_at) == ("My phone", 1, NOW + 5)
    assert json.loads(options)["userVerification"] == "required"
    assert "allowCredentials" not in json.loads(options) or json.loads(options)["allowCredentials"] == []


@pytest.mark.parametrize("counts", [True, False])
async def test_an_answer_is_good_once_whether_or_not_the_device_counts(at: Doorway, counts: bool) -> None:
    person, device = await at.person(), Device(ORIGIN, HOST, counts=counts)
    await added(at, person, device)
    options, challenge = at.passkeys.authentication(now=NOW)
    answer = device.sign_in(options)
    assert await entered(at, answer, challenge, NOW + 1) == person.id
    with pytest.raises(SignInRefused, match=REFUSED):
        await entered(at, answer, challenge, NOW + 2)


async def test_a_passkey_that_was_copied_is_refused_by_its_count(at: Doorway) -> None:
    person, device = await at.person(), Device(ORIGIN, HOST)
    await added(at, person, device)
    for now in (NOW + 1, NOW + 2):
        options, challenge = at.passkeys.authentication(now=now)
        await entered(at, device.sign_in(options), challenge, now)
    device.count = 0
    options, challenge = at.passkeys.authentication(now=NOW + 3)
    with pytest.raises(SignInRefused, match=REFUSED):
        await entered(at, device.sign_in(options), challenge, NOW + 3)


@pytest.mark.parametrize(
    "change",
    [
        {"origin": "https://evil.example"},
        {"host": "evil.example"},
        {"flags": PRESENT},
        {"flags": 0},
        {"id": b"another"},
        {"key": Device(ORIGIN, HOST).key},
    ],
    ids=["another page", "another site", "not verified", "not present", "unknown", "another key"],
)
async def test_an_answer_that_is_wrong_in_anything_is_refused_in_the_same_words(at: Doorway, change: dict[str, object]) -> None:
    person, device = await at.person(), Device(ORIGIN, HOST)
    await added(at, person, device)
    options, challenge = at.passkeys.authentication(now=NOW)
    for name, value in change.items():
        setattr(device, name, value)
    with pytest.raises(SignInRefused) as refused:
        await entered(at, device.sign_in(options), challenge)
    assert str(refused.value) == REFUSED


@pytest.mark.parametrize("answer", ["", "{}", "[]", "null", "nonsense", '{"id": "\\u0000"}', '{"id": 1, "rawId": 2}', "x" * 30_000])
async def test_an_answer_that_is_none_is_refused(at: Doorway, answer: str) -> None:
    person = await at.person()
    _, challenge = at.passkeys.authentication(now=NOW)
    with pytest.raises(SignInRefused, match=REFUSED):
        await entered(at, answer, challenge)
    _, register = at.passkeys.registration(person, [], now=NOW)
    with pytest.raises(InvalidField, match="passkey"):
        at.passkeys.registered(person.id, answer=answer, challenge=register, name="", now=NOW)


async def test_a_challenge_is_good_for_five_minutes_for_its_purpose_and_its_person(at: Doorway) -> None:
    person, device = await at.person(), Device(ORIGIN, HOST)
    other = await at.person("bob@example.com")
    options, challenge = at.passkeys.registration(person, [], now=NOW)
    answer = device.register(options)
    for who, sent, now in (
        (person.id, challenge, NOW + 5 * MINUTE),
        (other.id, challenge, NOW),
        (person.id, at.passkeys.authentication(now=NOW)[1], NOW),
    ):
        with pytest.raises(InvalidField, match="took too long"):
            at.passkeys.registered(who, answer=answer, challenge=sent, name="", now=now)
    await added(at, person, device)
    options, sent = at.passkeys.authentication(now=NOW)
    with pytest.raises(SignInRefused):
        await entered(at, device.sign_in(options), sent, NOW + 5 * MINUTE)
    with pytest.raises(SignInRefused):
        await entered(at, device.sign_in(options), challenge)


async def test_a_passkey_belongs_to_one_person_who_has_ten_at_most_and_removes_only_their_own(at: Doorway) -> None:
    person, other = await at.person(), await at.person("bob@example.com")
    for number in range(PER_PERSON_MAX):
        await added(at, person, Device(ORIGIN, HOST, id=b"key%d" % number))
    with pytest.raises(InvalidField, match="which is the most"):
        await added(at, person, Device(ORIGIN, HOST, id=b"one more"))
    with pytest.raises(InvalidField, match="registered already"):
        await added(at, other, Device(ORIGIN, HOST, id=b"key0"))
    (first, *_) = await at.database.read(passkeys.listed, person.id)
    assert not await at.database.write(passkeys.remove, other.id, first.id)
    assert await at.database.write(passkeys.remove, person.id, first.id)


async def test_a_blocked_person_is_not_let_in_by_a_passkey(at: Doorway) -> None:
    person, device = await at.person(), Device(ORIGIN, HOST)
    await added(at, person, device)
    await at.database.write(lambda session: people.block(session, session.get(Person, person.id), now=NOW))  # type: ignore[arg-type]
    options, challenge = at.passkeys.authentication(now=NOW)
    with pytest.raises(SignInRefused, match=REFUSED):
        await entered(at, device.sign_in(options), challenge)


@pytest.mark.parametrize(
    ("origin", "possible"),
    [
        ("https://tollway.example", True),
        ("http://localhost:8080", True),
        ("http://127.0.0.1:8080", False),
        ("http://tollway.example", False),
        ("http://[::1]:8080", False),
    ],
)
def test_passkeys_are_offered_where_browsers_have_them(origin: str, possible: bool) -> None:
    assert Passkeys(origin=origin, random_bytes=bytes, secrets=("s" * 40,)).possible is possible
