"""Passkeys (WebAuthn): at most 10 per person, verified by their owner's device, so that one stands for password and code together.

A challenge is a signed value of five minutes that the browser sends back: nothing is stored before a passkey exists, and one answer is good
once, since a passkey takes no challenge that is older than its last use. One that counts its uses and comes with a count that is not
higher was copied: it is refused. Options and answers are JSON as `navigator.credentials` has it.
"""

import base64
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import sqlalchemy
from sqlalchemy import func
from sqlmodel import Session, col, select

from policy.errors import InvalidField, SignInRefused
from policy.people_tables import Passkey, Person
from policy.signed import opened, signed

CHALLENGE_MS: Final = 5 * 60_000
CHALLENGE_BYTES: Final = 32
PER_PERSON_MAX: Final = 10
NAME_CHARACTERS_MAX: Final = 60
ANSWER_CHARACTERS_MAX: Final = 20_000
REFUSED: Final = "This passkey was not accepted. Try again, or sign in another way."


@dataclass(frozen=True, kw_only=True)
class Passkeys:
    """For the pages at `origin` (scheme, host, port). For a bare address such as 127.0.0.1 browsers have none: not `possible` there."""

    origin: str
    random_bytes: Callable[[int], bytes]
    secrets: tuple[str, ...] = field(repr=False)

    @property
    def host(self) -> str:
        return urlsplit(self.origin).hostname or ""

    @property
    def possible(self) -> bool:
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return self.origin.startswith("https://") or self.host == "localhost"
        return False

    def registration(self, person: Person, existing: list[Passkey], *, now: int) -> tuple[str, str]:
        """(options as JSON, challenge to be sent back)."""
        from webauthn import generate_registration_options, options_to_json
        from webauthn.helpers import structs

        raw, challenge = self._challenge("register", person.id, now)
        selection = structs.AuthenticatorSelectionCriteria(
            resident_key=structs.ResidentKeyRequirement.REQUIRED, user_verification=structs.UserVerificationRequirement.REQUIRED
        )
        options = generate_registration_options(
            rp_id=self.host, rp_name="Tollway", user_id=person.id.encode(), user_name=person.email,
            user_display_name=person.name or person.email, challenge=raw, authenticator_selection=selection,
            exclude_credentials=[structs.PublicKeyCredentialDescriptor(id=_raw(each.id)) for each in existing],
        )  # fmt: skip
        return options_to_json(options), challenge

    def registered(self, person_id: str, *, answer: str, challenge: str, name: str, now: int) -> Passkey:
        """The passkey to `add`. InvalidField if the answer does not fit the challenge, the person or the pages."""
        from webauthn import verify_registration_response
        from webauthn.helpers.exceptions import WebAuthnException

        name = name.strip() or "Passkey"
        if len(name) > NAME_CHARACTERS_MAX or not name.isprintable():
            raise InvalidField("name", f"must have {NAME_CHARACTERS_MAX} printable characters or less")
        values = self._opened(challenge, "register", now)
        if values is None or values["person"] != person_id or len(answer) > ANSWER_CHARACTERS_MAX:
            raise InvalidField("passkey", "took too long; try again")
        try:
            found = verify_registration_response(
                credential=answer, expected_challenge=_raw(values["challenge"]), expected_rp_id=self.host,
                expected_origin=self.origin, require_user_verification=True,
            )  # fmt: skip
        except (WebAuthnException, ValueError, KeyError, TypeError):
            raise InvalidField("passkey", "was not accepted; try again") from None
        id = base64.urlsafe_b64encode(found.credential_id).decode().rstrip("=")
        key = found.credential_public_key
        return Passkey(id=id, person_id=person_id, name=name, public_key=key, sign_count=found.sign_count, created_at=now)

    def authentication(self, *, now: int) -> tuple[str, str]:
        """(options as JSON, challenge to be sent back): for whoever has a passkey here, so it says nothing about anybody."""
        from webauthn import generate_authentication_options, options_to_json
        from webauthn.helpers.structs import UserVerificationRequirement

        raw, challenge = self._challenge("sign-in", "", now)
        options = generate_authentication_options(rp_id=self.host, challenge=raw, user_verification=UserVerificationRequirement.REQUIRED)
        return options_to_json(options), challenge

    def authenticated(self, session: Session, *, answer: str, challenge: str, now: int) -> str:
        """The id of the person whose passkey it is. SignInRefused, in the same words whatever is wrong."""
        from webauthn import verify_authentication_response
        from webauthn.helpers import parse_authentication_credential_json
        from webauthn.helpers.exceptions import WebAuthnException

        values = self._opened(challenge, "sign-in", now)
        if values is None or len(answer) > ANSWER_CHARACTERS_MAX:
            raise SignInRefused(REFUSED)
        try:
            credential = parse_authentication_credential_json(answer)
            passkey = session.get(Passkey, credential.id) if credential.id.isprintable() else None
            if passkey is None:
                raise SignInRefused(REFUSED)
            found = verify_authentication_response(
                credential=credential, expected_challenge=_raw(values["challenge"]), expected_rp_id=self.host,
                expected_origin=self.origin, credential_public_key=passkey.public_key,
                credential_current_sign_count=passkey.sign_count, require_user_verification=True,
            )  # fmt: skip
        except (WebAuthnException, ValueError, KeyError, TypeError, AttributeError):
            raise SignInRefused(REFUSED) from None
        person = session.get(Person, passkey.person_id)
        if person is None or person.blocked_at is not None or not _used(session, passkey, found.new_sign_count, int(values["at"]), now):
            raise SignInRefused(REFUSED)
        return person.id

    def _challenge(self, what: str, person_id: str, now: int) -> tuple[bytes, str]:
        raw = self.random_bytes(CHALLENGE_BYTES)
        values = {"challenge": base64.urlsafe_b64encode(raw).decode(), "person": person_id, "at": str(now)}
        return raw, signed(values, purpose=f"passkey:{what}", secret=self.secrets[0], expires_at=now + CHALLENGE_MS)

    def _opened(self, challenge: str, what: str, now: int) -> dict[str, str] | None:
        return opened(challenge, purpose=f"passkey:{what}", secrets=self.secrets, now=now)


def add(session: Session, passkey: Passkey) -> None:
    """InvalidField beyond `PER_PERSON_MAX`, or if it is registered already, with whomever."""
    owner = session.exec(select(Person).where(Person.id == passkey.person_id).with_for_update()).one()
    if session.exec(select(func.count()).select_from(Passkey).where(Passkey.person_id == owner.id)).one() >= PER_PERSON_MAX:
        raise InvalidField("passkey", f"you have {PER_PERSON_MAX}, which is the most; remove one first")
    if session.get(Passkey, passkey.id) is not None:
        raise InvalidField("passkey", "is registered already")
    session.add(passkey)
    session.flush()


def listed(session: Session, person_id: str) -> list[Passkey]:
    return list(session.exec(select(Passkey).where(Passkey.person_id == person_id).order_by(col(Passkey.created_at))))


def remove(session: Session, person_id: str, id: str) -> bool:
    """False if the person has no such passkey."""
    theirs = (col(Passkey.id) == id, col(Passkey.person_id) == person_id)
    return session.connection().execute(sqlalchemy.delete(Passkey).where(*theirs)).rowcount == 1


def _used(session: Session, passkey: Passkey, count: int, challenged_at: int, now: int) -> bool:
    """Of two answers to one challenge one is refused."""
    unused = sqlalchemy.or_(col(Passkey.used_at).is_(None), col(Passkey.used_at) < challenged_at)
    same = (col(Passkey.id) == passkey.id, col(Passkey.sign_count) == passkey.sign_count, unused)
    done = session.connection().execute(sqlalchemy.update(Passkey).where(*same).values(sign_count=count, used_at=now))
    return done.rowcount == 1


def _raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
