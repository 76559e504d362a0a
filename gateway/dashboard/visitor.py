"""Who looks at a page: the session's cookie -> a Visitor. Pages take cookies and no keys, the API takes keys and no cookies."""

import hashlib
import hmac
from typing import Any, Final
from urllib.parse import quote

import msgspec
from litestar import Request

from gateway.services import Services
from metering.money import now_ms
from policy import account_states, permissions, sessions
from policy.errors import Forbidden
from policy.keys import derive
from policy.people_tables import Person
from policy.permissions import Right
from policy.sessions import CONFIRMED_MS, SEEN_EVERY_MS, Membership, Visit

Plain = Request[Any, Any, Any]
COOKIE: Final = "tollway_session"
SECURE: Final = "__Host-tollway_session"
"""Under https: browsers take it only with Secure, from this host alone, for the path /."""


class SignInFirst(Exception):
    """Nobody is signed in; `path` is where they wanted to go."""

    def __init__(self, path: str, where: str = "/login") -> None:
        super().__init__("sign in first")
        self.location = f"{where}?next={quote(path, safe='/')}"


class NoSuchPage(Exception):
    """Also for what belongs to another account."""


class Visitor(msgspec.Struct, frozen=True, kw_only=True):
    """A person with a session, and the account they look at. `csrf` stands in every form of theirs, `path` is the page's."""

    visit: Visit
    csrf: str
    path: str

    @property
    def person(self) -> Person:
        return self.visit.person

    @property
    def membership(self) -> Membership:
        """SignInFirst leads those without any account to the page that says so."""
        if self.visit.membership is None:
            raise SignInFirst("/dashboard", "/welcome")
        return self.visit.membership

    @property
    def account_id(self) -> str:
        return self.membership.account_id

    @property
    def role(self) -> str:
        return self.membership.role

    @property
    def actor(self) -> str:
        """Who did it, for the audit log and every history."""
        return self.person.id

    def may(self, right: Right) -> bool:
        return permissions.may(self.visit.membership.role if self.visit.membership else None, right)

    def must_be_confirmed(self, now: int) -> None:
        """For what cannot be undone: SignInFirst unless the person proved who they are in the last ten minutes."""
        if now - self.visit.confirmed_at > CONFIRMED_MS:
            raise SignInFirst(self.path, "/confirm")


def cookie_name(at: Services) -> str:
    return SECURE if at.settings.origin.startswith("https://") else COOKIE


async def visitor_of(request: Plain, right: Right | None, *, changing: bool = False) -> Visitor:
    """SignInFirst without a session, Forbidden without the right. `right` None: any signed-in person, also one without an account.

    `changing`: not in an account that is suspended or closing, where only reading (and what leads out of it) is possible.
    """
    visitor = await found(request)
    if visitor is None:
        raise SignInFirst(str(request.url.path))
    request.state.visitor = visitor
    if right is not None:
        permissions.demand(visitor.role, right)
        state = visitor.visit.standing
        if state.state != "active" and (changing or visitor.role != "owner"):
            raise Forbidden(f"{account_states.refusal(state)}.")
    return visitor


async def operator_of(request: Plain) -> Visitor:
    """Somebody who runs this installation; for all others these pages do not exist."""
    visitor = await visitor_of(request, None)
    if not visitor.person.operator:
        raise NoSuchPage
    return visitor


async def found(request: Plain) -> Visitor | None:
    """None if nobody is signed in."""
    at: Services = request.app.state.services
    token = request.cookies.get(cookie_name(at), "")
    if not token or len(token) > 200:
        return None
    now = now_ms()
    visit = await at.database.read(sessions.find, token, now=now)
    if visit is None:
        return None
    if now - visit.seen_at >= SEEN_EVERY_MS:
        await at.database.write(sessions.seen, visit.digest, now=now)
    return Visitor(visit=visit, csrf=csrf_token(at, visit.digest), path=str(request.url.path))


def csrf_token(at: Services, digest: str) -> str:
    """Bound to the session: another session's token, and the one before a new sign-in, are worth nothing."""
    return hmac.digest(derive(at.settings.secret_key, "csrf"), digest.encode(), hashlib.sha256).hex()
