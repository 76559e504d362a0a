"""The door, by a clock of its own: the same answers for nobody and somebody, links that work once, no way in by another's address."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlmodel import Session, col, func, select

from metering.database import Database
from policy import audit, links, members, people, sessions, sign_in_limits, totp
from policy.errors import InvalidField, SignInRefused, TooManyAttempts
from policy.people_tables import Link, Person, SignInFailure
from policy.sign_in import GONE, WRONG, Unconfirmed
from policy.tables import Member
from tests.doors import CLIENT, EMAIL, HOUR, MINUTE, NOW, PASSWORD, SECRETS, Doorway, doorway, token_of

OTHER = "another long password"


@pytest.fixture
def at(database: Database) -> Doorway:
    return doorway(database)


async def rows(at: Doorway, table: type[Person] | type[Member] | type[Link] | type[SignInFailure]) -> int:
    return await at.database.read(lambda session: session.exec(select(func.count()).select_from(table)).one())


async def begun(at: Doorway, person_id: str, token: str = "t" * 40) -> str:
    await at.database.write(sessions.begin, person_id, token=token, agent="Test", now=NOW)
    return token


async def visit(at: Doorway, token: str, now: int = NOW) -> sessions.Visit | None:
    return await at.database.read(sessions.find, token, now=now)


async def test_who_confirms_their_address_owns_a_new_account_and_is_let_in(at: Doorway) -> None:
    letter = await at.door.sign_up(email=" Ann@Example.com ", password=PASSWORD, client=CLIENT, now=NOW)
    assert letter is not None
    assert (letter.kind, letter.to) == ("verify", EMAIL)
    entered = await at.door.verify(token=letter.token, password=PASSWORD, client=CLIENT, now=NOW)
    (mine,) = await at.database.read(sessions.memberships_of, entered.person_id)
    assert (mine.role, mine.name) == ("owner", EMAIL)
    assert await at.enter() == entered.person_id
    assert await at.database.read(lambda session: list(audit.broken(session))) == []


async def test_members_that_the_operator_made_become_the_person_who_confirms_the_address_and_no_account_is_opened(at: Doorway) -> None:
    def invite(session: Session) -> None:
        from metering import ledger

        ledger.open_account(session, id="acc_old", now=NOW)
        members.add(session, id="mem_old", account_id="acc_old", email="Ann@Example.com", role="admin", now=NOW)

    await at.database.write(invite)
    person = await at.person()
    (mine,) = await at.database.read(sessions.memberships_of, person.id)
    assert (mine.account_id, mine.member_id, mine.role) == ("acc_old", "mem_old", "admin")


async def test_signing_up_with_a_known_address_answers_the_same_and_changes_nothing_but_the_mail(at: Doorway) -> None:
    person = await at.person()
    letter = await at.door.sign_up(email=EMAIL, password=OTHER, client=CLIENT, now=NOW + 1)
    assert letter is not None
    assert letter.kind == "known"
    assert (await at.found()).password == person.password
    assert await rows(at, Person) == 1


async def test_an_address_that_somebody_else_signed_up_with_first_is_not_theirs_when_its_owner_confirms_it(at: Doorway) -> None:
    await at.door.sign_up(email=EMAIL, password=PASSWORD, client="198.51.100.9", now=NOW)
    await at.door.sign_up(email=EMAIL, password=OTHER, client=CLIENT, now=NOW + 1)
    newest = token_of(await at.door.sign_up(email=EMAIL, password=PASSWORD, client="198.51.100.9", now=NOW + 2))
    with pytest.raises(SignInRefused, match="not the one that was chosen"):
        await at.door.verify(token=newest, password=OTHER, client=CLIENT, now=NOW + 3)
    letter = await at.door.ask_for_reset(email=EMAIL, client=CLIENT, now=NOW + 4)
    await at.door.reset(token=token_of(letter), password=OTHER, now=NOW + 5)
    with pytest.raises(SignInRefused, match=WRONG):
        await at.enter(password=PASSWORD, now=NOW + 6)
    assert await at.enter(password=OTHER, now=NOW + 7)


async def test_an_unconfirmed_address_lets_nobody_in_and_only_the_right_password_learns_why(at: Doorway) -> None:
    await at.door.sign_up(email=EMAIL, password=PASSWORD, client=CLIENT, now=NOW)
    with pytest.raises(SignInRefused, match=WRONG):
        await at.enter(password=OTHER)
    with pytest.raises(Unconfirmed) as unconfirmed:
        await at.enter()
    assert unconfirmed.value.letter is not None
    await at.door.verify(token=unconfirmed.value.letter.token, password=PASSWORD, client=CLIENT, now=NOW)


@pytest.mark.parametrize("email", [EMAIL, "nobody@example.com", "no address", "a\x00b@example.com", "x" * 5000])
async def test_a_wrong_password_is_answered_in_the_same_words_whoever_is_asked_for(at: Doorway, email: str) -> None:
    await at.person()
    with pytest.raises(SignInRefused) as refused:
        await at.enter(email=email, password=OTHER)
    assert str(refused.value) == WRONG
    assert await rows(at, SignInFailure) == 3  # the address's, the network's, and the one of signing up


async def test_asking_for_a_new_password_writes_as_much_for_nobody_as_for_somebody(at: Doorway) -> None:
    await at.person()
    before = await rows(at, Link)
    assert await at.door.ask_for_reset(email="nobody@example.com", client=CLIENT, now=NOW) is None
    assert await rows(at, Link) == before + 1
    assert (await at.door.ask_for_reset(email=EMAIL, client=CLIENT, now=NOW)) is not None
    assert await rows(at, Link) == before + 2


async def test_a_new_password_by_mail_ends_every_session_and_every_other_link_and_the_delay_of_the_address(at: Doorway) -> None:
    person = await at.person()
    cookie = await begun(at, person.id)
    wanted = await at.changes.ask_for_email(person, email="ann@new.example", client=CLIENT, now=NOW)
    for _ in range(sign_in_limits.ADDRESS_MAX):
        with pytest.raises(SignInRefused):
            await at.enter(password=OTHER)
    with pytest.raises(TooManyAttempts):
        await at.enter()
    token = token_of(await at.door.ask_for_reset(email=EMAIL, client=CLIENT, now=NOW))
    letter = await at.door.reset(token=token, password=OTHER, now=NOW)
    assert (letter.kind, letter.to) == ("password_changed", EMAIL)
    assert await visit(at, cookie) is None
    assert await at.enter(password=OTHER)
    with pytest.raises(SignInRefused):
        await at.changes.take_email(token=token_of(wanted), now=NOW)
    with pytest.raises(SignInRefused, match=GONE):
        await at.door.reset(token=token, password=PASSWORD, now=NOW)


async def test_changing_the_password_takes_the_old_one_and_ends_every_session(at: Doorway) -> None:
    person = await at.person()
    cookie = await begun(at, person.id)
    with pytest.raises(InvalidField, match="current"):
        await at.changes.change_password(person, current=OTHER, password=OTHER, client=CLIENT, now=NOW)
    assert await visit(at, cookie) is not None
    await at.changes.change_password(person, current=PASSWORD, password=OTHER, client=CLIENT, now=NOW)
    assert await visit(at, cookie) is None
    assert await at.enter(password=OTHER) == person.id


async def test_an_address_changes_only_by_the_link_to_the_new_one_and_links_to_the_old_one_open_nothing(at: Doorway) -> None:
    person = await at.person()
    reset = token_of(await at.door.ask_for_reset(email=EMAIL, client=CLIENT, now=NOW))
    letter = await at.changes.ask_for_email(person, email="Ann@New.Example", client=CLIENT, now=NOW)
    assert letter is not None
    assert (letter.kind, letter.to) == ("new_email", "ann@new.example")
    assert await at.enter() == person.id
    told = await at.changes.take_email(token=letter.token, now=NOW)
    assert (told.to, told.words) == (EMAIL, {"email": "ann@new.example"})
    assert await at.enter(email="ann@new.example") == person.id
    with pytest.raises(SignInRefused, match=GONE):
        await at.door.reset(token=reset, password=OTHER, now=NOW)
    with pytest.raises(SignInRefused, match=WRONG):
        await at.enter()
    owners = await at.database.read(lambda session: list(session.exec(select(Member.email)).all()))
    assert owners == ["ann@new.example"]


async def test_an_address_that_is_taken_is_asked_for_in_the_same_way_and_cannot_be_had(at: Doorway) -> None:
    ann = await at.person()
    await at.person("bob@example.com")
    letter = await at.changes.ask_for_email(ann, email="bob@example.com", client=CLIENT, now=NOW)
    assert letter is not None
    assert (letter.kind, letter.token) == ("taken_email", "")


async def test_of_two_who_want_the_same_new_address_one_gets_it(at: Doorway) -> None:
    ann, bob = await at.person(), await at.person("bob@example.com")
    first = token_of(await at.changes.ask_for_email(ann, email="new@example.com", client=CLIENT, now=NOW))
    second = token_of(await at.changes.ask_for_email(bob, email="new@example.com", client=CLIENT, now=NOW))
    with pytest.raises(SignInRefused):
        await at.changes.take_email(token=first, now=NOW)  # a newer link for the address has taken its place
    await at.changes.take_email(token=second, now=NOW)
    assert (await at.found("new@example.com")).id == bob.id


Act = Callable[[Doorway, str, int], Awaitable[object]]


async def _verify(at: Doorway, token: str, now: int) -> object:
    return await at.door.verify(token=token, password=PASSWORD, client=CLIENT, now=now)


async def _reset(at: Doorway, token: str, now: int) -> object:
    return await at.door.reset(token=token, password=OTHER, now=now)


@pytest.mark.parametrize(("purpose", "act", "lifetime"), [("verify", _verify, 24 * HOUR), ("reset", _reset, HOUR)])
async def test_a_link_is_good_once_and_in_its_time_and_for_its_purpose(at: Doorway, purpose: str, act: Act, lifetime: int) -> None:
    verify = token_of(await at.door.sign_up(email=EMAIL, password=PASSWORD, client=CLIENT, now=NOW))
    tokens = {"verify": verify, "reset": token_of(await at.door.ask_for_reset(email=EMAIL, client=CLIENT, now=NOW))}
    wrong = tokens["reset" if purpose == "verify" else "verify"]
    for token, now in ((tokens[purpose], NOW + lifetime), (wrong, NOW), (tokens[purpose][:-1], NOW), ("", NOW)):
        with pytest.raises(SignInRefused, match=GONE):
            await act(at, token, now)
    results = await asyncio.gather(*(act(at, tokens[purpose], NOW + lifetime - 1) for _ in range(4)), return_exceptions=True)
    assert sum(not isinstance(result, BaseException) for result in results) == 1
    assert all(isinstance(result, SignInRefused) for result in results if isinstance(result, BaseException))


async def test_an_address_gets_five_links_of_a_kind_in_an_hour_and_the_newest_stays_good(at: Doorway) -> None:
    letters = [await at.door.sign_up(email=EMAIL, password=PASSWORD, client=CLIENT, now=NOW + n) for n in range(7)]
    assert [letter is not None for letter in letters] == [True] * links.PER_ADDRESS_MAX + [False] * 2
    with pytest.raises(SignInRefused, match=GONE):
        await at.door.verify(token=token_of(letters[3]), password=PASSWORD, client=CLIENT, now=NOW + 9)
    await at.door.verify(token=token_of(letters[4]), password=PASSWORD, client=CLIENT, now=NOW + 9)


async def test_a_link_is_kept_as_a_hash_alone(at: Doorway) -> None:
    token = token_of(await at.door.sign_up(email=EMAIL, password=PASSWORD, client=CLIENT, now=NOW))
    (row,) = await at.database.read(lambda session: list(session.exec(select(Link)).all()))
    assert token not in str(row.model_dump())
    assert PASSWORD not in str((await at.found()).model_dump())


async def test_a_blocked_person_is_signed_out_and_let_in_by_nothing(at: Doorway) -> None:
    person = await at.person()
    cookie = await begun(at, person.id)
    reset = token_of(await at.door.ask_for_reset(email=EMAIL, client=CLIENT, now=NOW))
    await at.database.write(lambda session: people.block(session, _of(session, person.id), now=NOW))
    assert await visit(at, cookie) is None
    with pytest.raises(SignInRefused, match="blocked"):
        await at.enter()
    with pytest.raises(SignInRefused, match=GONE):
        await at.door.reset(token=reset, password=OTHER, now=NOW)
    assert await at.door.ask_for_reset(email=EMAIL, client=CLIENT, now=NOW) is None
    await at.database.write(lambda session: people.unblock(session, _of(session, person.id), now=NOW))
    assert await at.enter() == person.id


async def test_with_a_second_factor_the_password_is_half_the_way_and_a_code_is_good_once(at: Doorway) -> None:
    person = await at.person()
    await at.changes.begin_totp(person.id)
    await at.changes.confirm_totp(person.id, code=await code(at, NOW), now=NOW)
    entered = await at.door.authenticate(email=EMAIL, password=PASSWORD, client=CLIENT, now=NOW)
    assert entered.half is not None
    later = NOW + MINUTE
    for wrong in ("000000", "", "12345678", await code(at, NOW), await code(at, later + 2 * totp.STEP_MS)):
        with pytest.raises(SignInRefused, match="code"):
            await at.door.second_factor(half=entered.half, code=wrong, client=CLIENT, now=later)
        await at.database.write(_forget_failures)
    right = await code(at, later)
    assert (await at.door.second_factor(half=entered.half, code=right, client=CLIENT, now=later)).half is None
    with pytest.raises(SignInRefused, match="code"):
        await at.door.second_factor(half=entered.half, code=right, client=CLIENT, now=later)


async def test_of_many_who_use_the_same_code_at_once_one_is_let_in(at: Doorway) -> None:
    person = await at.person()
    await at.changes.begin_totp(person.id)
    await at.changes.confirm_totp(person.id, code=await code(at, NOW), now=NOW)
    later = NOW + MINUTE
    half = (await at.door.authenticate(email=EMAIL, password=PASSWORD, client=CLIENT, now=later)).half or ""
    right = await code(at, later)
    tries = [at.door.second_factor(half=half, code=right, client=CLIENT, now=later) for _ in range(3)]
    done = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(not isinstance(result, BaseException) for result in done) == 1


async def test_half_a_sign_in_ends_after_five_minutes_with_the_password_and_is_nobody_elses(at: Doorway) -> None:
    person = await at.person()
    await at.changes.begin_totp(person.id)
    await at.changes.confirm_totp(person.id, code=await code(at, NOW), now=NOW)
    half = (await at.door.authenticate(email=EMAIL, password=PASSWORD, client=CLIENT, now=NOW)).half or ""
    with pytest.raises(SignInRefused, match="took too long"):
        await at.door.second_factor(half=half, code=await code(at, NOW + 5 * MINUTE), client=CLIENT, now=NOW + 5 * MINUTE)
    with pytest.raises(SignInRefused, match="took too long"):
        await at.door.second_factor(half=half[:-2], code=await code(at, NOW + MINUTE), client=CLIENT, now=NOW + MINUTE)
    await at.changes.change_password(await at.found(), current=PASSWORD, password=OTHER, client=CLIENT, now=NOW)
    with pytest.raises(SignInRefused, match="took too long"):
        await at.door.second_factor(half=half, code=await code(at, NOW + MINUTE), client=CLIENT, now=NOW + MINUTE)


async def test_a_new_password_by_mail_does_not_take_the_second_factor_away(at: Doorway) -> None:
    person = await at.person()
    await at.changes.begin_totp(person.id)
    await at.changes.confirm_totp(person.id, code=await code(at, NOW), now=NOW)
    await at.door.reset(token=token_of(await at.door.ask_for_reset(email=EMAIL, client=CLIENT, now=NOW)), password=OTHER, now=NOW)
    assert (await at.door.authenticate(email=EMAIL, password=OTHER, client=CLIENT, now=NOW)).half is not None


async def test_a_second_factor_counts_only_once_it_was_confirmed_and_its_secret_is_sealed(at: Doorway) -> None:
    person = await at.person()
    await at.changes.begin_totp(person.id)
    with pytest.raises(InvalidField, match="code"):
        await at.changes.confirm_totp(person.id, code="000000", now=NOW)
    assert (await at.door.authenticate(email=EMAIL, password=PASSWORD, client=CLIENT, now=NOW)).half is None
    found = await at.found()
    made = totp.pending(found, secrets=SECRETS) or ""
    assert len(made) == totp.SECRET_CHARACTERS
    assert made not in str(found.model_dump())
    assert totp.address(found, made).startswith(f"otpauth://totp/Tollway:ann%40example.com?secret={made}")


async def test_proving_oneself_again_takes_the_password_and_the_code(at: Doorway) -> None:
    person = await at.person()
    await at.changes.prove(person, password=PASSWORD, code="", client=CLIENT, now=NOW)
    with pytest.raises(InvalidField, match="password"):
        await at.changes.prove(person, password=OTHER, code="", client=CLIENT, now=NOW)
    await at.changes.begin_totp(person.id)
    await at.changes.confirm_totp(person.id, code=await code(at, NOW), now=NOW)
    with pytest.raises(InvalidField, match="code"):
        await at.changes.prove(person, password=PASSWORD, code="", client=CLIENT, now=NOW)
    await at.changes.prove(person, password=PASSWORD, code=await code(at, NOW + MINUTE), client=CLIENT, now=NOW + MINUTE)


async def test_the_operators_link_signs_in_once_and_within_ten_minutes(at: Doorway) -> None:
    from gateway.commands.people import make_link

    made = await at.database.write(make_link, email="op@example.com", origin="https://x", now=NOW)
    token = made["link"].partition("=")[2]
    with pytest.raises(SignInRefused, match=GONE):
        await at.door.use_link(token=token, now=NOW + 10 * MINUTE)
    assert (await at.door.use_link(token=token, now=NOW)).person_id == made["person_id"]
    with pytest.raises(SignInRefused, match=GONE):
        await at.door.use_link(token=token, now=NOW)
    assert len(await at.database.read(sessions.memberships_of, made["person_id"])) == 1


async def test_whom_the_operator_vouches_for_keeps_no_password_that_somebody_else_chose(at: Doorway) -> None:
    from gateway.commands.people import make_link

    waiting = token_of(await at.door.sign_up(email=EMAIL, password=PASSWORD, client=CLIENT, now=NOW))
    await at.database.write(make_link, email=EMAIL, origin="https://x", now=NOW)
    with pytest.raises(SignInRefused, match=WRONG):
        await at.enter()
    with pytest.raises(SignInRefused, match=GONE):
        await at.door.verify(token=waiting, password=PASSWORD, client=CLIENT, now=NOW)


async def code(at: Doorway, now: int) -> str:
    from pyotp import TOTP

    from policy.vault import unseal

    person = await at.found()
    return TOTP(unseal(person.totp or "", totp.place(person.id), secrets=SECRETS)).generate_otp(now // totp.STEP_MS)


def _of(session: Session, person_id: str) -> Person:
    return session.exec(select(Person).where(col(Person.id) == person_id)).one()


def _forget_failures(session: Session) -> None:
    for row in session.exec(select(SignInFailure)).all():
        session.delete(row)
