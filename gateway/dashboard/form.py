"""A posted form -> a Struct: sent by one of our own pages, with the session's token, of bounded size, without a field nobody asked for."""

import hmac
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, urlsplit

import msgspec

from gateway.asgi import headers_of, read_body
from gateway.dashboard.visitor import Plain, Visitor, operator_of, visitor_of
from gateway.errors import BadRequest
from gateway.services import Services
from policy.errors import Forbidden
from policy.permissions import Right

F = TypeVar("F", bound=msgspec.Struct)
BYTES_MAX: Final = 1 << 20
FIELDS_MAX: Final = 500
TOKEN: Final = "csrf"  # noqa: S105 - the field's name


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A form that is a button alone."""


async def posted(request: Plain, right: Right | None, form: type[F], *, changing: bool = True) -> tuple[Visitor, F]:
    """Who posts, and what. Forbidden for a form of another site or an old session; BadRequest names the field that is wrong."""
    visitor = await visitor_of(request, right, changing=changing)
    return visitor, await _of(request, visitor, form)


async def posted_by_operator(request: Plain, form: type[F]) -> tuple[Visitor, F]:
    """The same for the pages of who runs this installation; NoSuchPage for everybody else."""
    visitor = await operator_of(request)
    return visitor, await _of(request, visitor, form)


async def _of(request: Plain, visitor: Visitor, form: type[F]) -> F:
    check_origin(request)
    fields = await _fields(request)
    if not hmac.compare_digest(str(fields.pop(TOKEN, "")).encode(), visitor.csrf.encode()):
        raise Forbidden("This page is out of date: open it again, then send the form again. Nothing was changed.")
    return _filled(fields, form)


async def posted_by_anybody(request: Plain, form: type[F]) -> F:
    """A form of a page that needs no session, as signing in does."""
    check_origin(request)
    fields = await _fields(request)
    fields.pop(TOKEN, None)
    return _filled(fields, form)


def check_origin(request: Plain) -> None:
    """Browsers say where a form comes from and no page can make them lie; one that says nothing is none of ours."""
    at: Services = request.app.state.services
    fetched_from, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if fetched_from is not None and fetched_from != "same-origin":
        raise Forbidden("This form was sent by another site. Nothing was changed.")
    if origin is None and fetched_from is None:
        raise Forbidden("This form does not say where it comes from (no Origin header). Nothing was changed.")
    if origin is not None and not _ours(origin, request, at):
        raise Forbidden("This form was sent by another site. Nothing was changed.")


def _ours(origin: str, request: Plain, at: Services) -> bool:
    if at.settings.public_url:
        return origin == at.settings.origin
    found = urlsplit(origin)
    return found.scheme == "http" and found.netloc == request.headers.get("host", "")


async def _fields(request: Plain) -> dict[str, str | list[str]]:
    """By name; a field that is repeated is a list. An empty one is like one that is not there."""
    at: Services = request.app.state.services
    scope: Any = request.scope
    receive: Any = request.receive
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        raise BadRequest("Send this as a form (application/x-www-form-urlencoded).", status=415)
    raw = await read_body(receive, headers_of(scope), bytes_max=BYTES_MAX, seconds_max=at.settings.body_seconds)
    try:
        pairs = parse_qsl(raw.decode(), max_num_fields=FIELDS_MAX, errors="strict")
    except ValueError:
        raise BadRequest(f"This form cannot be read: it must be UTF-8 with at most {FIELDS_MAX} fields.") from None
    fields: dict[str, str | list[str]] = {}
    for name, value in pairs:
        before = fields.get(name)
        fields[name] = value if before is None else [*(before if isinstance(before, list) else [before]), value]
    return fields


def _filled(fields: dict[str, str | list[str]], form: type[F]) -> F:
    known = {field.encode_name: field for field in msgspec.structs.fields(form)}
    for name, value in fields.items():
        if name not in known:
            raise BadRequest(f"{name[:100]}: this form has no such field.", param=name[:100])
        if isinstance(value, str) and getattr(known[name].type, "__origin__", None) in (tuple, list):
            fields[name] = [value]
    try:
        return msgspec.convert(fields, form, strict=False)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `$.")
        name = place.rstrip("`") or (what.split("`")[1] if what.count("`") > 1 else "form")
        text = "is required" if "missing required" in what else f"is not possible ({what.replace('`', '')})"
        raise BadRequest(f"{name}: {text}.", param=name) from None
