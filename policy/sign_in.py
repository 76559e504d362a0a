"""The door: signing up, confirming an address, signing in by password and code, and choosing a new password.

Every answer is the same, and takes as long, whether or not there is such a person: the difference is in the mail that only the owner of
the address reads. Whoever signs up with somebody else's address gains nothing: an address is confirmed by its link together with the
password, or by a new password chosen through a link.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec
from sqlmodel import Session

from metering.database import Database
from policy import links, people, sign_in_limits, totp
from policy.errors import SignInRefused
from policy.letters import Kind, Letter
from policy.links import NewLink
from policy.passwords import Passwords, check_rules
from policy.people_tables import Person
from policy.sign_in_limits import Counter
from policy.signed import opened, signed

HALF_MS: Final = 5 * 60_000
"""How long somebody may look for their code after the password."""
WRONG: Final = "The e-mail address or the password is wrong."
WRONG_CODE: Final = "The code is wrong, or was used before. Wait for the next one."
BLOCKED: Final = "The operator has blocked this person. Write to them."
GONE: Final = "This link is no longer good: it was used, or its time is over. Ask for a new one."
LOOK: Final = "If the address is right, a mail with a link is on its way. It can take a minute; look among the unwanted ones, too."
_HALF: Final = "second-factor"


class Entered(msgspec.Struct, frozen=True, kw_only=True):
    """Who was let in. With `half` the code is still to come: it names them for the second step; then nothing else has begun."""

    person_id: str
    half: str | None = None


class Unconfirmed(SignInRefused):
    """The password is right, the address is not confirmed; `letter` is the link once more, None if enough were sent."""

    def __init__(self, letter: Letter | None) -> None:
        super().__init__("Confirm your address first, with the link that was mailed to you.")
        self.letter = letter


@dataclass(frozen=True, kw_only=True)
class Door:
    """`secrets`: TOLLWAY_SECRET_KEY and those before it. Methods take the client's network address as `client` and Unix ms as `now`.

    All of them raise TooManyAttempts; letters are to be sent by the caller, after the answer is decided.
    """

    database: Database
    passwords: Passwords
    new_id: people.NewId
    random_bytes: Callable[[int], bytes]
    secrets: tuple[str, ...] = field(repr=False)

    async def sign_up(self, *, email: str, password: str, client: str, now: int) -> Letter | None:
        """InvalidField for what can be no address or no password; else the answer is the same for everybody."""
        email = people.address(email)
        check_rules(password, email=email)
        await self._count(now, sign_in_limits.of_asking(client, self.secrets[0]))
        hashed = await self.passwords.hash(password)
        return await self.database.write(self._signed_up, email, hashed, now)

    def _signed_up(self, session: Session, email: str, hashed: str, now: int) -> Letter | None:
        person = people.by_email(session, email)
        if person is not None and person.verified_at is not None:
            return self._mail(session, NewLink(purpose="reset", email=email, person_id=person.id), "known", now)
        if person is None:
            person = people.create(session, id=self.new_id("per"), email=email, password=hashed, now=now)
        person.password, person.updated_at = hashed, now
        return self._mail(session, NewLink(purpose="verify", email=email, person_id=person.id), "verify", now)

    async def verify(self, *, token: str, password: str, client: str, now: int) -> Entered:
        """Confirms an address by its link and the password that was chosen with it. SignInRefused; the link stays good after a mistake."""
        link = await self.database.read(links.look, token, "verify", now=now)
        if link is None:
            raise SignInRefused(GONE)
        address, network = self._counters(link.email, client)
        await self._count(now, address, network)
        person = await self.database.read(people.by_email, link.email)
        checked = await self.passwords.check(password, person.password if person else None)
        if person is None or not checked.right:
            raise SignInRefused("The password is not the one that was chosen for this address. Choose a new one instead.")
        return await self.database.write(self._verified, token, person.password, (address, network), now)

    def _verified(self, session: Session, token: str, hashed: str | None, counters: tuple[Counter, Counter], now: int) -> Entered:
        link = links.use(session, token, "verify", now=now)
        person = people.by_email(session, link.email) if link else None
        if person is None or person.password != hashed or person.blocked_at is not None:
            raise SignInRefused(GONE)
        sign_in_limits.succeeded(session, address=counters[0], network=counters[1])
        people.confirm_address(session, person, new_id=self.new_id, now=now)
        return Entered(person_id=person.id)

    async def authenticate(self, *, email: str, password: str, client: str, now: int) -> Entered:
        """SignInRefused, in the same words for a wrong password and for nobody; what else is wrong only the right password learns."""
        email = email.strip().lower()
        address, network = self._counters(email, client)
        await self._count(now, address, network)
        person = await self.database.read(people.by_email, email) if email.isprintable() else None
        checked = await self.passwords.check(password, person.password if person else None)
        if person is None or not checked.right:
            raise SignInRefused(WRONG)
        if person.blocked_at is not None:
            raise SignInRefused(BLOCKED)
        if person.verified_at is None:
            again = NewLink(purpose="verify", email=email, person_id=person.id)
            raise Unconfirmed(await self.database.write(self._mail, again, "verify", now))
        if person.totp_since is not None:
            return Entered(person_id=person.id, half=self._half(person, now))
        return await self.database.write(self._authenticated, person, checked.renewed, (address, network))

    def _authenticated(self, session: Session, person: Person, renewed: str | None, counters: tuple[Counter, Counter]) -> Entered:
        sign_in_limits.succeeded(session, address=counters[0], network=counters[1])
        if renewed is not None:
            person.password = renewed
            session.add(person)
        return Entered(person_id=person.id)

    async def second_factor(self, *, half: str, code: str, client: str, now: int) -> Entered:
        """The second step. SignInRefused for a wrong or used code, and when the first step is over."""
        values = opened(half, purpose=_HALF, secrets=self.secrets, now=now)
        person = await self.database.read(_by_id, values["person"]) if values else None
        if values is None or person is None or values["password"] != _print_of(person) or person.blocked_at is not None:
            raise SignInRefused("That took too long. Sign in again.")
        address, network = self._counters(person.email, client)
        await self._count(now, address, network)
        return await self.database.write(self._second, person.id, code, (address, network), now)

    def _second(self, session: Session, person_id: str, code: str, counters: tuple[Counter, Counter], now: int) -> Entered:
        person = _by_id(session, person_id)
        if person is None or not totp.check(session, person, code, secrets=self.secrets, now=now):
            raise SignInRefused(WRONG_CODE)
        sign_in_limits.succeeded(session, address=counters[0], network=counters[1])
        return Entered(person_id=person_id)

    async def ask_for_reset(self, *, email: str, client: str, now: int) -> Letter | None:
        """The same answer for everybody; also a link nobody can use is made for an address that nobody has."""
        email = people.address(email)
        await self._count(now, sign_in_limits.of_asking(client, self.secrets[0]))
        return await self.database.write(self._asked, email, now)

    def _asked(self, session: Session, email: str, now: int) -> Letter | None:
        person = people.by_email(session, email)
        known = person if person is not None and person.blocked_at is None else None
        letter = self._mail(session, NewLink(purpose="reset", email=email, person_id=known.id if known else None), "reset", now)
        return letter if known else None

    async def reset(self, *, token: str, password: str, now: int) -> Letter:
        """A new password by link, which also confirms the address. Every session of theirs ends. SignInRefused, InvalidField."""
        link = await self.database.read(links.look, token, "reset", now=now)
        if link is None or link.person_id is None:
            raise SignInRefused(GONE)
        check_rules(password, email=link.email)
        hashed = await self.passwords.hash(password)
        return await self.database.write(self._reset, token, hashed, now)

    def _reset(self, session: Session, token: str, hashed: str, now: int) -> Letter:
        link = links.use(session, token, "reset", now=now)
        person = _by_id(session, link.person_id) if link and link.person_id else None
        if person is None or link is None or person.blocked_at is not None or person.email != link.email:
            raise SignInRefused(GONE)
        people.set_password(session, person, hashed, now=now)
        sign_in_limits.forget(session, sign_in_limits.of_address(person.email, self.secrets[0]))
        people.confirm_address(session, person, new_id=self.new_id, now=now)
        return Letter(kind="password_changed", to=person.email)

    async def use_link(self, *, token: str, now: int) -> Entered:
        """Signs in by a link that the operator printed. SignInRefused."""
        return await self.database.write(self._used, token, now)

    def _used(self, session: Session, token: str, now: int) -> Entered:
        link = links.use(session, token, "sign_in", now=now)
        person = _by_id(session, link.person_id) if link and link.person_id else None
        if person is None or person.blocked_at is not None:
            raise SignInRefused(GONE)
        return Entered(person_id=person.id)

    def _mail(self, session: Session, new: NewLink, kind: Kind, now: int) -> Letter | None:
        token = links.token(self.random_bytes)
        if not links.make(session, new, token=token, id=self.new_id("lnk"), now=now):
            return None
        return Letter(kind=kind, to=new.email, token=token)

    def _half(self, person: Person, now: int) -> str:
        values = {"person": person.id, "password": _print_of(person)}
        return signed(values, purpose=_HALF, secret=self.secrets[0], expires_at=now + HALF_MS)

    def _counters(self, email: str, client: str) -> tuple[Counter, Counter]:
        return sign_in_limits.of_address(email, self.secrets[0]), sign_in_limits.of_network(client, self.secrets[0])

    async def _count(self, now: int, *counters: Counter) -> None:
        await self.database.write(sign_in_limits.attempt, counters, now=now)


def _by_id(session: Session, person_id: str) -> Person | None:
    return session.get(Person, person_id)


def _print_of(person: Person) -> str:
    """Changes with the password: what was half begun under the old one cannot be ended."""
    return hashlib.sha256((person.password or "").encode()).hexdigest()[:16]
