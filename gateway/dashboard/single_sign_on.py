"""/login/sso: to the issuer of single sign-on and back. What must survive the way is in a cookie of ten minutes."""

import logging
from typing import Final

from litestar import Response, get
from litestar.params import FromQuery

from gateway.dashboard.entering import NOT_LET_IN, enter, keep, unlucky
from gateway.dashboard.page import HEADERS, go
from gateway.dashboard.visitor import NoSuchPage, Plain, found
from gateway.oidc import JOURNEY_MS, Arrived, Journey, SingleSignOn, Unreachable
from gateway.people import CALLBACK, new_id
from gateway.services import Services
from metering.money import now_ms
from policy import single_sign_on
from policy.errors import SignInRefused

COOKIE: Final = "tollway_sso"
SECURE: Final = "__Host-tollway_sso"
_log = logging.getLogger("tollway.pages")


@get("/login/sso", include_in_schema=False)
async def depart(request: Plain, next: FromQuery[str] = "") -> Response[str]:
    at: Services = request.app.state.services
    try:
        journey = await issuer_of(at).depart(next=next[:500], connecting=None)
    except SignInRefused as error:
        return await _refused(request, error)
    response = Response("", status_code=303, headers={**HEADERS, "location": journey.address})
    pack(response, at, journey)
    return response


@get(CALLBACK, include_in_schema=False)
async def arrive(request: Plain) -> Response[str]:
    at: Services = request.app.state.services
    told = request.query_params  # `state` as a parameter of the function would be the application's
    try:
        arrived = await issuer_of(at).arrive(
            cookie=request.cookies.get(_cookie(at), ""), code=told.get("code", ""), state=told.get("state", "")
        )
        response = await (_entered(request, arrived) if arrived.connecting is None else _connected(request, arrived))
    except NOT_LET_IN as error:
        response = await _refused(request, error)
    keep(response, at, _cookie(at), "", seconds=0)
    return response


async def _entered(request: Plain, arrived: Arrived) -> Response[str]:
    at: Services = request.app.state.services
    person_id = await at.database.write(single_sign_on.enter, arrived.who, new_id=new_id, now=now_ms())
    return await enter(request, person_id, next=arrived.next)


async def _connected(request: Plain, arrived: Arrived) -> Response[str]:
    """Only for the person who set out, still signed in."""
    at: Services = request.app.state.services
    visitor = await found(request)
    if visitor is None or visitor.person.id != arrived.connecting:
        raise SignInRefused("You are not signed in any more as the person who wanted to connect. Nothing was changed.")
    await at.database.write(single_sign_on.connect, arrived.who, visitor.person.id, now=now_ms())
    return go("/dashboard/settings", done="identity.connected")


def issuer_of(at: Services) -> SingleSignOn:
    """Without an issuer there is no such page."""
    if at.people.single_sign_on is None:
        raise NoSuchPage
    return at.people.single_sign_on


def pack(response: Response[str], at: Services, journey: Journey) -> None:
    keep(response, at, _cookie(at), journey.cookie, seconds=JOURNEY_MS // 1000)


async def _refused(request: Plain, error: Exception) -> Response[str]:
    if isinstance(error, Unreachable):
        _log.warning("the issuer of single sign-on failed: %s", error.why)
    return unlucky(await found(request), error)


def _cookie(at: Services) -> str:
    return SECURE if at.settings.origin.startswith("https://") else COOKIE
