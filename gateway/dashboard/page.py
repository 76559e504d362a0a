"""A template and its values -> a response. Templates escape everything, know every name they use, and never see a request."""

from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Request, Response

from gateway.dashboard.assets import asset
from gateway.dashboard.notices import NOTICES
from gateway.dashboard.visitor import Visitor
from gateway.dashboard.words import FILTERS, clock, percent

CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), interest-cohort=()",
    "cache-control": "no-store",
}
_TEMPLATES: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_TEMPLATES.filters.update(FILTERS)
_TEMPLATES.globals.update(asset=asset, percent=percent)


def page(
    template: str, visitor: Visitor | None, *, status: int = 200, headers: dict[str, str] | None = None, **values: Any
) -> Response[str]:
    """`visitor` None: somebody who is not signed in. `notice` and `problem` are texts that stand above the page."""
    shown = {"visitor": visitor, "when": clock(visitor.person.time_zone if visitor else "UTC"), "notice": None, "problem": None, **values}
    text = _TEMPLATES.get_template(template).render(shown)
    return Response(text, status_code=status, media_type="text/html", headers={**HEADERS, **(headers or {})})


def noticed(request: Request[Any, Any, Any]) -> str | None:
    """The notice that the address names, if it is one."""
    return NOTICES.get(request.query_params.get("done", ""))


def go(path: str, *, done: str | None = None) -> Response[str]:
    """On to a page of ours after a POST: 303. `done` is a name in `notices.py`."""
    if done is not None:
        path = f"{path}{'&' if '?' in path else '?'}done={quote(done)}"
    return Response("", status_code=303, headers={**HEADERS, "location": path})


def local(path: str | None, otherwise: str = "/dashboard") -> str:
    """A path of this site that a request may send somebody on to; nothing else is, as `//host`, `/\\host` or control characters."""
    if not path or not path.startswith("/") or path[1:2] in ("/", "\\") or not path.isprintable() or len(path) > 2000 or "\\" in path:
        return otherwise
    return path
