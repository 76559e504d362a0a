"""The door in tests: a Door over an open database, with ids that count and a clock of the test's own; mail is what it returns."""

import itertools
import secrets
from dataclasses import dataclass

from metering.database import Database
from policy import people
from policy.letters import Letter
from policy.passkeys import Passkeys
from policy.passwords import Passwords
from policy.people_tables import Person
from policy.sign_in import Door
from policy.sign_in_changes import Changes
from tests import books

SECRETS = ("a-secret-for-tests-of-40-characters-long",)
NOW = books.START
MINUTE = 60_000
HOUR = 60 * MINUTE
EMAIL, PASSWORD = "ann@example.com", "correct horse battery staple"
CLIENT = "192.0.2.7"
COUNT = itertools.count(1)


@dataclass
class Doorway:
    """`door` and what tests do with it again and again."""

    database: Database
    door: Door
    changes: Changes
    passkeys: Passkeys

    async def person(self, email: str = EMAIL, password: str = PASSWORD, now: int = NOW) -> Person:
        """Somebody who signed up and confirmed their address."""
        letter = await self.door.sign_up(email=email, password=password, client=CLIENT, now=now)
        assert letter is not None
        await self.door.verify(token=letter.token, password=password, client=CLIENT, now=now)
        return await self.found(email)

    async def found(self, email: str = EMAIL) -> Person:
        person = await self.database.read(people.by_email, email)
        assert person is not None
        return person

    async def enter(self, email: str = EMAIL, password: str = PASSWORD, client: str = CLIENT, now: int = NOW) -> str:
        return (await self.door.authenticate(email=email, password=password, client=client, now=now)).person_id


def doorway(database: Database, *, origin: str = "https://tollway.example") -> Doorway:
    door = Door(
        database=database, passwords=Passwords(), new_id=lambda kind: f"{kind}_{next(COUNT):06d}", random_bytes=secrets.token_bytes,
        secrets=SECRETS,
    )  # fmt: skip
    return Doorway(database, door, Changes(door), Passkeys(origin=origin, random_bytes=secrets.token_bytes, secrets=SECRETS))


def token_of(letter: Letter | None) -> str:
    assert letter is not None
    assert letter.token
    return letter.token
