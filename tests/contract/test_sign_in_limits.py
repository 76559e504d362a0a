"""How often signing in may fail, by a clock of its own: 10,000 wrong passwords, many at once, many networks, and who is not hurt."""

import asyncio
import contextlib

import pytest
from sqlmodel import Session, select

from metering.database import Database, Sqlite
from policy import sessions, sign_in_limits
from policy.errors import SignInRefused, TooManyAttempts
from policy.people_tables import SignInFailure
from policy.sign_in_limits import ADDRESS_MAX, NETWORK_MAX
from tests.doors import CLIENT, EMAIL, MINUTE, NOW, PASSWORD, SECRETS, Doorway, doorway

SECOND = 1000
WRONG = "another long password"


@pytest.fixture
def at(database: Database) -> Doorway:
    return doorway(database)


async def looked_at(at: Doorway, *, email: str = EMAIL, client: str = CLIENT, now: int = NOW) -> bool:
    """Whether a wrong password was looked at; False if it was refused unseen."""
    try:
        await at.enter(email=email, password=WRONG, client=client, now=now)
    except TooManyAttempts:
        return False
    except SignInRefused:
        return True
    raise AssertionError("a wrong password was let in")


def attempts(session: Session, *, email: str, clients: list[str], count: int, every: int) -> int:
    """How many of `count` attempts, `every` ms, each from the next client, are looked at; the passwords themselves are left out."""
    seen = 0
    address = sign_in_limits.of_address(email, SECRETS[0])
    networks = [sign_in_limits.of_network(client, SECRETS[0]) for client in clients]
    for number in range(count):
        counters = (address, networks[number % len(networks)])
        with contextlib.suppress(TooManyAttempts):
            sign_in_limits.attempt(session, counters, now=NOW + number * every)
            seen += 1
    return seen


async def test_of_10_000_wrong_passwords_in_three_hours_from_a_hundred_networks_a_dozen_are_looked_at(at: Doorway) -> None:
    clients = [f"203.0.113.{number}" for number in range(100)]
    count = 10_000 if isinstance(at.database, Sqlite) else 1_000  # the same hours, at a statement's price over a socket
    seen = await at.database.write(attempts, email=EMAIL, clients=clients, count=count, every=10_000 * SECOND // count)
    assert 5 < seen <= 14


async def test_a_delay_doubles_from_30_seconds_to_an_hour_and_is_forgotten_after_15_quiet_minutes(at: Doorway) -> None:
    now, delays = NOW, []
    for _ in range(ADDRESS_MAX - 1):
        assert await looked_at(at, client="203.0.113.1", now=now)
    for number in range(9):
        assert await looked_at(at, client=f"203.0.113.{number + 2}", now=now)
        with pytest.raises(TooManyAttempts) as refused:
            await at.enter(client="198.51.100.1", now=now)
        delays.append(refused.value.retry_after_seconds)
        assert not await looked_at(at, client="198.51.100.1", now=now + delays[-1] * SECOND - 1)
        now += delays[-1] * SECOND
    assert delays == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]
    for _ in range(ADDRESS_MAX):
        assert await looked_at(at, client="203.0.113.1", now=now + 15 * MINUTE)
    assert not await looked_at(at, client="203.0.113.1", now=now + 15 * MINUTE)


@pytest.mark.parametrize("known", [True, False])
async def test_the_delay_is_the_same_for_an_address_that_nobody_has(at: Doorway, known: bool) -> None:
    if known:
        await at.person()
    for _ in range(ADDRESS_MAX):
        assert await looked_at(at)
    with pytest.raises(TooManyAttempts, match="Try again in 30 s"):
        await at.enter(password=WRONG)


async def test_a_hundred_attempts_at_once_are_counted_as_a_hundred(at: Doorway) -> None:
    await at.person()
    seen = await asyncio.gather(*(looked_at(at, client=f"203.0.113.{number}") for number in range(30)))
    assert sum(seen) == ADDRESS_MAX


async def test_one_network_that_tries_many_addresses_is_delayed_and_others_are_not(at: Doorway) -> None:
    await at.person()
    seen = [await looked_at(at, email=f"p{number}@example.com", client="203.0.113.1") for number in range(NETWORK_MAX + 5)]
    assert seen == [True] * NETWORK_MAX + [False] * 5
    with pytest.raises(TooManyAttempts):
        await at.enter(client="203.0.113.1")
    assert await at.enter(client="203.0.113.2")


async def test_the_64_of_an_ipv6_address_is_one_network(at: Doorway) -> None:
    assert sign_in_limits.network("2001:db8::1") == sign_in_limits.network("2001:db8::ffff:2") != sign_in_limits.network("2001:db8:0:1::1")
    assert sign_in_limits.network("::ffff:192.0.2.7") == sign_in_limits.network("192.0.2.7")
    assert sign_in_limits.network("nonsense") == "unknown"


async def test_success_forgets_the_address_and_takes_only_its_own_attempt_back_from_the_network(at: Doorway) -> None:
    await at.person()
    await at.database.write(lambda session: [session.delete(row) for row in session.exec(select(SignInFailure)).all()])
    for _ in range(ADDRESS_MAX - 1):
        await looked_at(at)
    await at.enter()
    (row,) = await at.database.read(lambda session: list(session.exec(select(SignInFailure)).all()))
    assert (row.mac, row.count) == (sign_in_limits.of_network(CLIENT, SECRETS[0]).mac, ADDRESS_MAX - 1)
    for _ in range(ADDRESS_MAX):
        assert await looked_at(at)


async def test_who_is_signed_in_stays_so_while_strangers_guess_and_a_reset_by_mail_ends_the_delay(at: Doorway) -> None:
    person = await at.person()
    await at.database.write(sessions.begin, person.id, token="t" * 40, agent="Test", now=NOW)
    for number in range(50):
        await looked_at(at, client=f"203.0.113.{number}")
    assert await at.database.read(sessions.find, "t" * 40, now=NOW) is not None
    letter = await at.door.ask_for_reset(email=EMAIL, client=CLIENT, now=NOW)
    assert letter is not None
    await at.door.reset(token=letter.token, password=WRONG, now=NOW)
    assert await at.enter(password=WRONG) == person.id


async def test_asking_for_mail_is_bounded_per_network(at: Doorway) -> None:
    for number in range(sign_in_limits.ASKED_MAX):
        await at.door.ask_for_reset(email=f"p{number}@example.com", client=CLIENT, now=NOW)
    with pytest.raises(TooManyAttempts):
        await at.door.ask_for_reset(email=EMAIL, client=CLIENT, now=NOW)
    with pytest.raises(TooManyAttempts):
        await at.door.sign_up(email=EMAIL, password=PASSWORD, client=CLIENT, now=NOW)


async def test_no_address_can_be_read_back_from_what_is_kept(at: Doorway) -> None:
    await looked_at(at)
    kept = str([row.model_dump() for row in await at.database.read(lambda session: list(session.exec(select(SignInFailure)).all()))])
    assert EMAIL not in kept
    assert CLIENT not in kept
