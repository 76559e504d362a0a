"""A refusal as a page: the statuses and words of the API, for people. Who is not signed in is led to where they can."""

import logging
from typing import Any, Final

from litestar import Response
from litestar.exceptions import HTTPException

from gateway.dashboard.page import HEADERS, page
from gateway.dashboard.visitor import NoSuchPage, Plain, SignInFirst
from gateway.errors import problem
from metering.errors import MeteringError

_log = logging.getLogger("tollway.pages")
TITLES: Final = {
    400: "That did not work", 402: "Not enough credit", 403: "Not allowed", 404: "There is no such page", 405: "Not like this",
    409: "That was too late", 413: "Too large", 415: "Not a form", 429: "Too often", 500: "Our fault", 503: "Not now",
}  # fmt: skip
NOT_FOUND: Final = "Nothing is here, or it belongs to somebody else."


def refused(request: Plain, error: Exception) -> Response[Any]:
    """For every page. A failure of ours is logged by its class alone."""
    if isinstance(error, SignInFirst):
        return Response("", status_code=303, headers={**HEADERS, "location": error.location})
    if isinstance(error, NoSuchPage):
        return _shown(request, 404, NOT_FOUND)
    if isinstance(error, HTTPException):
        text = {404: NOT_FOUND, 405: "This address does not take this method."}.get(error.status_code, "The request is not valid.")
        return _shown(request, error.status_code, text, dict(error.headers or {}))
    seen = problem(error)
    if seen.status == 500 or isinstance(error, MeteringError):
        route = request.scope.get("path_template", "other")
        _log.error("%s %s: %s", request.method, route, type(error).__name__, extra={"route": route, "error_class": type(error).__name__})
    return _shown(request, seen.status, seen.message, seen.headers)


def _shown(request: Plain, status: int, text: str, headers: dict[str, str] | None = None) -> Response[Any]:
    """With the navigation of whoever was found to be signed in before it was refused."""
    visitor = request.state.get("visitor")
    return page("error.html", visitor, status=status, headers=headers, title=TITLES.get(status, "That did not work"), text=text)
