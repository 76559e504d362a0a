"""What every way in ends with: a new session in a new cookie, and what is said when somebody is not let in."""

import secrets
from typing import Any, Final

from litestar import Response
from sqlmodel import Session

from gateway.client_address import client_address, networks
from gateway.dashboard.page import go, local, page
from gateway.dashboard.visitor import Plain, Visitor, cookie_name
from gateway.errors import problem
from gateway.services import Services
from metering.money import now_ms
from policy import sessions
from policy.errors import InvalidField, SignInRefused, TooManyAttempts
from policy.sessions import AGE_MS, TOKEN_BYTES

NOT_LET_IN: Final = (InvalidField, SignInRefused, TooManyAttempts)
_BROWSERS: Final = {"Firefox/": "Firefox", "Edg/": "Edge", "OPR/": "Opera", "Chrome/": "Chrome", "Safari/": "Safari"}
_SYSTEMS: Final = {
    "Windows": "Windows", "Android": "Android", "iPhone": "iPhone", "iPad": "iPad", "Mac OS X": "macOS", "Linux": "Linux",
}  # fmt: skip


async def enter(request: Plain, person_id: str, *, next: str = "", done: str | None = None) -> Response[str]:
    """On to `next` with a session that nobody had before; the one that the browser came with, whoever made it, ends."""
    at: Services = request.app.state.services
    token, before = secrets.token_urlsafe(TOKEN_BYTES), request.cookies.get(cookie_name(at), "")
    await at.database.write(_begun, person_id, before=before[:200], token=token, agent=agent(request), now=now_ms())
    response = go(local(next), done=done)
    keep(response, at, cookie_name(at), token, seconds=AGE_MS // 1000)
    return response


def _begun(session: Session, person_id: str, *, before: str, token: str, agent: str, now: int) -> None:
    sessions.end(session, sessions.digest(before))
    sessions.begin(session, person_id, token=token, agent=agent, now=now)


def keep(response: Response[str], at: Services, name: str, value: str, *, seconds: int) -> None:
    """Sets a cookie for this host alone that no script can read; `seconds` 0 takes it away."""
    secure = at.settings.origin.startswith("https://")
    response.set_cookie(key=name, value=value, max_age=seconds, path="/", secure=secure, httponly=True, samesite="lax")


def client(request: Plain) -> str:
    """The network address that attempts are counted by."""
    at: Services = request.app.state.services
    peer = request.scope.get("client")
    return client_address(peer[0] if peer else "", request.headers.get("x-forwarded-for", ""), networks(at.settings.trusted_proxies))


def agent(request: Plain) -> str:
    """A browser and a system in our words; what the header says is not kept."""
    text = request.headers.get("user-agent", "")
    browser = next((ours for theirs, ours in _BROWSERS.items() if theirs in text), "a browser")
    system = next((ours for theirs, ours in _SYSTEMS.items() if theirs in text), "")
    return f"{browser} on {system}" if system else browser


def said(error: Exception) -> dict[str, Any]:
    """What a page that shows a refusal is made with, one of `NOT_LET_IN`."""
    found = problem(error)
    return {"problem": found.message, "status": found.status, "headers": found.headers}


def unlucky(visitor: Visitor | None, error: Exception) -> Response[str]:
    """A refusal as a page of its own, where there is no form to show again."""
    found = problem(error)
    return page("error.html", visitor, status=found.status, headers=found.headers, title="That did not work", text=found.message)
