"""What people who are signed in change of how they sign in: the password, the address, the second factor, single sign-on.

The pages ask for a recent proof of who they are before all of it; here the rules are that hold whoever asks.
"""

from dataclasses import dataclass

from sqlmodel import Session, col, select

from policy import links, people, sign_in_limits, totp
from policy.errors import InvalidField, SignInRefused
from policy.letters import Letter
from policy.links import NewLink
from policy.passwords import check_rules
from policy.people_tables import Identity, Passkey, Person
from policy.sign_in import GONE, Door


@dataclass(frozen=True)
class Changes:
    """Methods raise InvalidField with the field that is wrong; letters are to be sent by the caller."""

    door: Door

    async def prove(self, person: Person, *, password: str, code: str, client: str, now: int) -> None:
        """Once more who they are: the password, and the code if there is a second factor."""
        secret = self.door.secrets[0]
        address, network = sign_in_limits.of_address(person.email, secret), sign_in_limits.of_network(client, secret)
        await self.door.database.write(sign_in_limits.attempt, (address, network), now=now)
        checked = await self.door.passwords.check(password, person.password)
        if not checked.right:
            raise InvalidField("password", "is not right")

        def second(session: Session) -> None:
            fresh = _fresh(session, person.id)
            if fresh.totp_since is not None and not totp.check(session, fresh, code, secrets=self.door.secrets, now=now):
                raise InvalidField("code", "is not right, or was used before; wait for the next one")
            sign_in_limits.succeeded(session, address=address, network=network)

        await self.door.database.write(second)

    async def change_password(self, person: Person, *, current: str, password: str, client: str, now: int) -> Letter:
        """All their sessions end, this one too: the caller begins a new one."""
        secret = self.door.secrets[0]
        address, network = sign_in_limits.of_address(person.email, secret), sign_in_limits.of_network(client, secret)
        await self.door.database.write(sign_in_limits.attempt, (address, network), now=now)
        if not (await self.door.passwords.check(current, person.password)).right:
            raise InvalidField("current", "is not your password")
        check_rules(password, email=person.email)
        hashed = await self.door.passwords.hash(password)

        def change(session: Session) -> None:
            people.set_password(session, _fresh(session, person.id), hashed, now=now)
            sign_in_limits.succeeded(session, address=address, network=network)

        await self.door.database.write(change)
        return Letter(kind="password_changed", to=person.email)

    async def ask_for_email(self, person: Person, *, email: str, client: str, now: int) -> Letter | None:
        """The address changes when the link that goes to the new one is followed; for one that is taken the answer is the same."""
        email = people.address(email)
        if email == person.email:
            raise InvalidField("email", "is your address already")
        token, id = links.token(self.door.random_bytes), self.door.new_id("lnk")

        def ask(session: Session) -> Letter | None:
            sign_in_limits.attempt(session, (sign_in_limits.of_asking(client, self.door.secrets[0]),), now=now)
            taken = people.by_email(session, email) is not None
            new = NewLink(purpose="email", email=email, person_id=None if taken else person.id)
            if not links.make(session, new, token=token, id=id, now=now):
                return None
            return Letter(kind="taken_email", to=email) if taken else Letter(kind="new_email", to=email, token=token)

        return await self.door.database.write(ask)

    async def take_email(self, *, token: str, now: int) -> Letter:
        """The end of it, by the link. SignInRefused. The letter goes to the address before."""

        def take(session: Session) -> Letter:
            link = links.use(session, token, "email", now=now)
            person = session.get(Person, link.person_id) if link and link.person_id else None
            if link is None or person is None or person.blocked_at is not None:
                raise SignInRefused(GONE)
            before = people.change_email(session, person, link.email, now=now)
            return Letter(kind="email_changed", to=before, words={"email": link.email})

        return await self.door.database.write(take)

    async def begin_totp(self, person_id: str) -> None:
        await self.door.database.write(
            lambda session: totp.begin(
                session, _fresh(session, person_id), secret=self.door.secrets[0], random_bytes=self.door.random_bytes
            )
        )

    async def confirm_totp(self, person_id: str, *, code: str, now: int) -> Letter:
        """A guess at the first code gains nothing: the secret is on the screen of who guesses."""

        def confirm(session: Session) -> Letter:
            person = _fresh(session, person_id)
            totp.confirm(session, person, code, secrets=self.door.secrets, now=now)
            return Letter(kind="second_factor", to=person.email, words={"state": "on"})

        return await self.door.database.write(confirm)

    async def remove_totp(self, person_id: str) -> Letter:
        def remove(session: Session) -> Letter:
            person = _fresh(session, person_id)
            totp.remove(session, person)
            return Letter(kind="second_factor", to=person.email, words={"state": "off"})

        return await self.door.database.write(remove)


def ways_in(session: Session, person_id: str) -> int:
    """How many ways to sign in somebody has, beside a reset by mail."""
    person = _fresh(session, person_id)
    passkeys = session.exec(select(Passkey.id).where(Passkey.person_id == person_id)).all()
    identities = session.exec(select(Identity.subject).where(col(Identity.person_id) == person_id)).all()
    return bool(person.password) + len(passkeys) + len(identities)


def _fresh(session: Session, person_id: str) -> Person:
    person = session.get(Person, person_id)
    if person is None:
        raise SignInRefused("This person is gone.")
    return person
