"""One-time passwords by time (RFC 6238): 30 s, 6 digits, one step early or late; no code is good twice. The secret is sealed.

Setting one up is two steps: `begin` stores a secret that does not count yet, `confirm` puts it in force with a first code.
"""

import hmac
from collections.abc import Callable, Sequence
from typing import Final

import sqlalchemy
from sqlmodel import Session, col

from policy.errors import InvalidField
from policy.people_tables import Person
from policy.vault import Place, seal, unseal

STEP_MS: Final = 30_000
SECRET_CHARACTERS: Final = 32
_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_WINDOW: Final = (0, -1, 1)


def begin(session: Session, person: Person, *, secret: str, random_bytes: Callable[[int], bytes]) -> str:
    """A new secret of 160 bits, in base32; it takes the place of one that was not confirmed. InvalidField if one is in force."""
    if person.totp_since is not None:
        raise InvalidField("code", "one-time passwords are in force already")
    made = "".join(_ALPHABET[byte % 32] for byte in random_bytes(SECRET_CHARACTERS))
    person.totp = seal(made, place(person.id), secret=secret, random_bytes=random_bytes)
    session.add(person)
    session.flush()
    return made


def pending(person: Person, *, secrets: Sequence[str]) -> str | None:
    """The secret that waits for its first code."""
    if person.totp is None or person.totp_since is not None:
        return None
    return unseal(person.totp, place(person.id), secrets=secrets)


def confirm(session: Session, person: Person, code: str, *, secrets: Sequence[str], now: int) -> None:
    """InvalidField if nothing was begun, or the code is not right."""
    if pending(person, secrets=secrets) is None or not _accept(session, person, code, secrets=secrets, now=now):
        raise InvalidField("code", "is not right; the clock of your device must be right, too")
    person.totp_since = now
    session.add(person)
    session.flush()


def check(session: Session, person: Person, code: str, *, secrets: Sequence[str], now: int) -> bool:
    """Whether the code is right and neither it nor a later one was ever accepted; from now on it is."""
    return person.totp_since is not None and _accept(session, person, code, secrets=secrets, now=now)


def remove(session: Session, person: Person) -> None:
    person.totp = person.totp_since = None
    session.add(person)
    session.flush()


def address(person: Person, made: str) -> str:
    """The `otpauth:` URI that an authenticator reads from a QR code."""
    from pyotp import TOTP

    return TOTP(made).provisioning_uri(name=person.email, issuer_name="Tollway")


def _accept(session: Session, person: Person, code: str, *, secrets: Sequence[str], now: int) -> bool:
    step = _step_of(person, "".join(code.split()), secrets=secrets, now=now)
    if step is None:
        return False
    newer = (col(Person.id) == person.id, col(Person.totp_step) < step)
    return session.connection().execute(sqlalchemy.update(Person).where(*newer).values(totp_step=step)).rowcount == 1


def _step_of(person: Person, code: str, *, secrets: Sequence[str], now: int) -> int | None:
    from pyotp import TOTP

    totp = TOTP(unseal(person.totp or "", place(person.id), secrets=secrets))
    steps = [now // STEP_MS + offset for offset in _WINDOW]
    right = [step for step in steps if hmac.compare_digest(totp.generate_otp(step).encode(), code.encode("utf-8", "replace"))]
    return right[0] if right else None


def place(person_id: str) -> Place:
    return Place(table="person", column="totp", row_id=person_id, account_id=person_id)
