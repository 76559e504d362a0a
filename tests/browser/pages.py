"""Every page there is, taken from the application's own routes, and what stands in their parameters."""

import functools
import re
from typing import NamedTuple

from gateway.app import HOT, create_app
from gateway.settings import Settings
from tests.browser.house import Home
from tests.path.routes import MODELS

API = re.compile(r"^/(v1|api/v1|health|metrics|openapi\.json|schema|static)(/|$)")
PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")
GET = "GET"

FILES = frozenset({"/favicon.ico", "/robots.txt", "/sitemap.xml", "/.well-known/gpc.json", "/.well-known/security.txt"})
"""Routes that answer with something else than a page; a route below which a file is downloaded ends in one of DOWNLOADS."""
DOWNLOADS = ("/export", "/download", "/proof", "/json", "/statement", ".csv", ".svg", ".txt", ".xml", ".json")
LEADING = frozenset({"/welcome", "/login/sso", "/login/sso/callback"})
"""Pages that lead elsewhere: a person with an account, or anybody to the issuer of single sign-on, where there is one."""
QUERIES = {
    "/confirm": "next=/dashboard/privacy",
    "/dashboard/billing/statement": "month=2026-10",
    "/dashboard/billing/usage/export": "month=2026-10",
    "/link/invite": "token={invitation}",
}
"""What a page needs behind its path to show something; in braces the names of `Home.ids`."""
FILLED = {"key_id": "key_id", "generation_id": "generation", "project_id": "project", "member_id": "member", "account_id": "account",
          "budget_id": "budget", "credit_id": "credit", "digest": "session"}  # fmt: skip
BY_PLACE = {"/dashboard/members/invitations": "link", "/dashboard/generations": "generation", "/dashboard/logs": "generation"}
"""The parameter of a path -> the name of the thing in `Home.ids` that stands in it; where it is just `id`, by what stands before it."""
MODEL = dict(zip(("company", "name"), MODELS[0].split("/"), strict=True))


class Route(NamedTuple):
    """`path` as the application has it, `{key_id:str}` and all."""

    path: str
    methods: frozenset[str]

    @property
    def name(self) -> str:
        return PARAMETER.sub(r"{\1}", self.path)

    @property
    def parameters(self) -> list[str]:
        return PARAMETER.findall(self.path)


@functools.cache
def routes() -> tuple[Route, ...]:
    """Everything that is no API: pages, what they post to, and their files; sorted."""
    found: dict[str, set[str]] = {}
    for route in create_app(Settings()).litestar.routes:
        for handler in getattr(route, "route_handlers", ()):
            found.setdefault(route.path, set()).update(handler.http_methods - {"OPTIONS", "HEAD"})
    return tuple(Route(path, frozenset(methods)) for path, methods in sorted(found.items()) if not API.match(path) and path not in HOT)


def pages() -> list[Route]:
    return [route for route in routes() if GET in route.methods and not is_file(route)]


def is_file(route: Route) -> bool:
    return route.path in FILES or route.path.endswith(DOWNLOADS)


def who_looks(route: Route) -> str:
    """Who sees most of a page."""
    if route.path.startswith("/operator"):
        return "operator"
    return "owner" if route.path.startswith(("/dashboard", "/confirm")) else "nobody"


def filled(route: Route, home: Home) -> str:
    """The path with a thing of this home in each place. AssertionError for a parameter that nobody has filled yet."""

    def value(found: re.Match[str]) -> str:
        name = found[1]
        thing = FILLED.get(name) or BY_PLACE.get(route.path[: found.start()].rstrip("/"))
        assert name in MODEL or thing, f"{route.name}: say in tests/browser/pages.py what stands for {{{name}}}"
        return MODEL.get(name) or home.ids[str(thing)]

    return PARAMETER.sub(value, route.path)


def address(route: Route, home: Home) -> str:
    """With the query that it needs."""
    query = QUERIES.get(route.path, "").format(**home.ids)
    return f"{filled(route, home)}{'?' if query else ''}{query}"


def known(path: str, method: str = GET) -> bool:
    """Whether a route of the application takes this path."""
    return any(method in route.methods and re.fullmatch(PARAMETER.sub("[^/]+", route.path), path) for route in all_routes())


@functools.cache
def all_routes() -> tuple[Route, ...]:
    """The API's too."""
    litestar = create_app(Settings()).litestar
    hot = tuple(Route(path, frozenset({"POST"})) for path in HOT)
    return hot + tuple(
        Route(route.path, frozenset().union(*(handler.http_methods for handler in getattr(route, "route_handlers", ()))))
        for route in litestar.routes
    )


@functools.cache
def queries() -> dict[str, set[str]]:
    """By path of a page, the text parameters that its handler takes from the query."""
    found: dict[str, set[str]] = {}
    for route in create_app(Settings()).litestar.routes:
        for handler in getattr(route, "route_handlers", ()):
            if GET in handler.http_methods:
                given = handler.parsed_fn_signature.parameters
                found[route.path] = {name for name, field in given.items() if name != "request" and field.annotation in (str, str | None)}
    return found
