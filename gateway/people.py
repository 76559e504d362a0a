"""What lets people in, put together from the settings: the door, passkeys, single sign-on, and the post that carries their mail."""

import logging
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.letters import written
from gateway.mail import Folder, Mail, Mailer, Post, Smtp
from gateway.oidc import Issuer, SingleSignOn, open_client
from gateway.settings import Settings
from metering.database import Database
from metering.errors import MeteringError
from metering.money import now_ms
from policy import standing_letters
from policy.account_states import Standing
from policy.letters import Letter
from policy.passkeys import Passkeys
from policy.passwords import Passwords
from policy.sign_in import Door
from policy.sign_in_changes import Changes

if TYPE_CHECKING:
    import httpx

CALLBACK = "/login/sso/callback"
_log = logging.getLogger("tollway.people")


@dataclass(frozen=True, kw_only=True)
class People:
    """`single_sign_on` None: no issuer is set."""

    door: Door
    changes: Changes
    passkeys: Passkeys
    single_sign_on: SingleSignOn | None
    post: Post
    origin: str
    client: "httpx.AsyncClient | None"

    @classmethod
    def open(cls, settings: Settings, database: Database) -> "People":
        door = Door(
            database=database, passwords=Passwords(), new_id=new_id, random_bytes=secrets.token_bytes, secrets=settings.secrets
        )  # fmt: skip
        client = open_client() if settings.oidc_issuer else None
        return cls(
            door=door,
            changes=Changes(door),
            passkeys=Passkeys(origin=settings.origin, random_bytes=secrets.token_bytes, secrets=settings.secrets),
            single_sign_on=_single_sign_on(settings, client) if client else None,
            post=Post(mailer_of(settings)),
            origin=settings.origin,
            client=client,
        )

    def send(self, letter: Letter | None) -> None:
        """Later, in turn. None: there is nothing to say, or enough was said."""
        if letter is not None:
            self.post.send(written(letter, self.origin))

    async def tell_owners(self, database: Database, account_id: str, standing: Standing) -> None:
        """That their account is suspended, closing or active again.

        Never raises for the database: what they would be told of is committed, and whoever did it must not read that it failed.
        """
        try:
            letters = await database.read(standing_letters.to_owners, account_id, standing)
        except MeteringError as error:
            reason = type(error).__name__
            _log.error(
                "the owners of %s were not told that it is %s: %s", account_id, standing.state, reason, extra={"error_class": reason}
            )
            return
        for letter in letters:
            self.send(letter)

    async def aclose(self) -> None:
        if self.client is not None:
            await self.client.aclose()


class Nowhere:
    """In production without a mail server."""

    async def send(self, mail: Mail) -> None:
        raise ConnectionError("TOLLWAY_SMTP_URL is not set")


def new_id(kind: str) -> str:
    """`kind_` + 24 hexadecimal digits: 48 bits of time in milliseconds, then 48 random ones, so ids sort by time."""
    return f"{kind}_{now_ms():012x}{secrets.token_hex(6)}"


def mailer_of(settings: Settings) -> Mailer:
    if settings.smtp_url:
        return Smtp(settings.smtp_url, settings.mail_from)
    if settings.env == "production":
        _log.warning("TOLLWAY_SMTP_URL is not set: nobody can sign up or choose a new password by mail")
        return Nowhere()
    return Folder(settings.mail_folder, settings.mail_from)


def _single_sign_on(settings: Settings, client: "httpx.AsyncClient") -> SingleSignOn:
    issuer = Issuer(
        url=settings.oidc_issuer, client_id=settings.oidc_client_id, client_secret=settings.oidc_client_secret, name=settings.oidc_name
    )
    return SingleSignOn(
        issuer=issuer, callback=f"{settings.origin}{CALLBACK}", client=client, clock=now_ms, random_bytes=secrets.token_bytes,
        secrets=settings.secrets,
    )  # fmt: skip
