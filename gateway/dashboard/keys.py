"""/dashboard/keys: make a key (shown once), limit it, rename, disable, rotate and revoke it. A developer changes only their own keys."""

import secrets
from functools import partial
from typing import Any, Final

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath, FromQuery
from sqlmodel import Session

from gateway.api import key_fields
from gateway.dashboard.form import Nothing, posted
from gateway.dashboard.page import go, noticed, page
from gateway.dashboard.visitor import NoSuchPage, Plain, Visitor, visitor_of
from gateway.errors import BadRequest
from gateway.services import Services
from metering.money import format_usd, now_ms
from metering.periods import RESETS
from policy import account_keys, audit, key_policy, key_rotation, key_use, keys
from policy.account_keys import Change
from policy.audit import Deed
from policy.errors import Forbidden, InvalidKey, InvalidRules
from policy.key_use import Seen
from policy.tables import Key

HERE: Final = "/dashboard/keys"
KEY: Final = f"{HERE}/{{key_id:str}}"


class NewKeyForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    limit: str = ""
    limit_reset: str = ""
    expires_at: str = ""
    logging: str = ""
    data_collection: str = ""
    zdr: bool = False


class KeyForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    limit: str = ""
    limit_reset: str = ""
    logging: str = ""
    data_collection: str = ""
    zdr: bool = False
    disabled: bool = False


class RotationForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    grace_hours: int = 0


@get(HERE, include_in_schema=False)
async def show_keys(request: Plain, offset: FromQuery[int] = 0) -> Response[str]:
    visitor = await visitor_of(request, "keys.read")
    return await _list(request, visitor, offset=max(0, min(offset, 10_000)))


@post(HERE, include_in_schema=False)
async def create_key(request: Plain) -> Response[str]:
    visitor, form = await posted(request, "keys.change", NewKeyForm)
    at: Services = request.app.state.services
    now, id, token = now_ms(), f"key_{secrets.token_hex(12)}", keys.generate(secrets.randbelow)
    try:
        new, _ = key_fields.new_key(_document(form, expires_at=form.expires_at or None), visitor.account_id, now)
        new = msgspec.structs.replace(new, member_id=visitor.membership.member_id)
        deed = Deed(actor=visitor.actor, action="key.create", account_id=visitor.account_id, subject=id, change={"kind": new.kind})
        work = partial(keys.create, new=new, token=token, pepper=at.pepper, id=id, now=now)
        key = await at.database.write(audit.noted, deed, now, work)
    except (BadRequest, InvalidKey, InvalidRules) as error:
        return await _list(request, visitor, problem=_said(error), form=form, status=400)
    return page("key_made.html", visitor, here="keys", token=token, key=key, model="tollway/echo", origin=at.settings.origin)


@get(KEY, include_in_schema=False)
async def show_key(request: Plain, key_id: FromPath[str]) -> Response[str]:
    visitor = await visitor_of(request, "keys.read")
    return await _one(request, visitor, key_id)


@post(KEY, include_in_schema=False)
async def change_key(request: Plain, key_id: FromPath[str]) -> Response[str]:
    visitor, form = await posted(request, "keys.change", KeyForm)
    at: Services = request.app.state.services
    seen, now = await _mine(visitor, key_id, at), now_ms()
    try:
        wanted, _ = key_fields.changes(_document(form, disabled=form.disabled))
        deed = _deed(visitor, "key.change", seen.key, {"fields": sorted(_changed(wanted))})
        work = partial(
            account_keys.change, account_id=visitor.account_id, named=key_id, wanted=wanted, by=_rank(visitor),
            limit_id=f"lim_{secrets.token_hex(12)}", now=now,
        )  # fmt: skip
        await at.database.write(audit.noted, deed, now, work)
    except (BadRequest, InvalidKey, InvalidRules) as error:
        return await _one(request, visitor, key_id, problem=_said(error), status=400)
    return go(f"{HERE}/{key_id}", done="key.changed")


@post(f"{KEY}/rotate", include_in_schema=False)
async def rotate_key(request: Plain, key_id: FromPath[str]) -> Response[str]:
    visitor, form = await posted(request, "keys.change", RotationForm)
    at: Services = request.app.state.services
    seen, now = await _mine(visitor, key_id, at), now_ms()
    id, token = f"key_{secrets.token_hex(12)}", keys.generate(secrets.randbelow)
    work = partial(
        key_rotation.rotate, account_id=visitor.account_id, key_id=seen.key.id, token=token, pepper=at.pepper, id=id,
        by=_rank(visitor), grace_hours=form.grace_hours, now=now,
    )  # fmt: skip
    deed = _deed(visitor, "key.create", seen.key, {"new_key_id": id, "grace_hours": form.grace_hours})
    try:
        key = await at.database.write(audit.noted, deed, now, work)
    except ValueError as error:
        return await _one(request, visitor, key_id, problem=str(error), status=400)
    return page("key_made.html", visitor, here="keys", token=token, key=key, model="tollway/echo", origin=at.settings.origin)


@post(f"{KEY}/revoke", include_in_schema=False)
async def revoke_key(request: Plain, key_id: FromPath[str]) -> Response[str]:
    visitor, _ = await posted(request, "keys.change", Nothing)
    at: Services = request.app.state.services
    seen, now = await _mine(visitor, key_id, at), now_ms()
    if seen.key.kind != "inference" and visitor.role != "owner":
        raise Forbidden("Only the owner may revoke this key.")
    work = partial(keys.revoke, key_id=seen.key.id, now=now)
    await at.database.write(audit.noted, _deed(visitor, "key.delete", seen.key), now, work, bool)
    return go(HERE, done="key.revoked")


async def _list(
    request: Plain, visitor: Visitor, *, offset: int = 0, problem: str | None = None, form: NewKeyForm | None = None, status: int = 200
) -> Response[str]:
    at: Services = request.app.state.services
    rows = await at.database.read(_limited, visitor.account_id, offset=offset)
    return page(
        "keys.html", visitor, status=status, here="keys", rows=rows, form=form or NewKeyForm(name=""), problem=problem,
        notice=noticed(request), resets=_RESETS, levels=_LEVELS, offset=offset, more=len(rows) == account_keys.PAGE, now=now_ms(),
    )  # fmt: skip


async def _one(request: Plain, visitor: Visitor, key_id: str, *, problem: str | None = None, status: int = 200) -> Response[str]:
    at: Services = request.app.state.services
    seen = await _found(visitor, key_id, at)
    policy = msgspec.json.decode(seen.key.data_policy) if seen.key.data_policy else {}
    changeable = visitor.may("keys.change") and _is_theirs(visitor, seen.key)
    return page(
        "key.html", visitor, status=status, here="keys", seen=seen, key=seen.key, policy=policy, problem=problem, notice=noticed(request),
        resets=_RESETS, levels=_LEVELS, graces=_GRACES, changeable=changeable, now=now_ms(),
        limit=None if seen.limit is None else format_usd(seen.limit.overdraft),
    )  # fmt: skip


def _limited(session: Session, account_id: str, *, offset: int) -> list[Seen]:
    """The page's keys with their limits, without adding up what they used."""
    return key_use.limited(session, account_keys.page(session, account_id, offset=offset, with_disabled=True))


async def _found(visitor: Visitor, key_id: str, at: Services) -> Seen:
    seen = await at.database.read(account_keys.limited, visitor.account_id, key_id) if key_id.isprintable() else None
    if seen is None:
        raise NoSuchPage
    return seen


async def _mine(visitor: Visitor, key_id: str, at: Services) -> Seen:
    seen = await _found(visitor, key_id, at)
    if not _is_theirs(visitor, seen.key):
        raise Forbidden("A developer changes only their own keys; ask an admin or the owner.")
    return seen


def _is_theirs(visitor: Visitor, key: Key) -> bool:
    return visitor.role != "developer" or key.member_id == visitor.membership.member_id


def _rank(visitor: Visitor) -> str:
    return "owner" if visitor.role == "owner" else "management"


def _deed(visitor: Visitor, action: audit.Action, key: Key, change: dict[str, Any] | None = None) -> Deed:
    return Deed(actor=visitor.actor, action=action, account_id=visitor.account_id, subject=key.id, change=change)


def _document(form: NewKeyForm | KeyForm, **more: object) -> bytes:
    """The form as the API's JSON, so that both are read, and refused, by the same rules."""
    asked = {**({"data_collection": form.data_collection} if form.data_collection else {}), **({"zdr": True} if form.zdr else {})}
    given = {"name": form.name, "limit": form.limit or None, "limit_reset": form.limit_reset or None, "logging": form.logging or None}
    return msgspec.json.encode({**given, key_policy.NAME: asked or None, **more})


def _changed(wanted: Change) -> list[str]:
    return [name for name, value in msgspec.structs.asdict(wanted).items() if value is not msgspec.UNSET]


def _said(error: BadRequest | InvalidKey | InvalidRules) -> str:
    return error.message if isinstance(error, BadRequest) else str(error)


_RESETS: Final = (("", "never"), *((reset, reset) for reset in RESETS))
_LEVELS: Final = (("", "as the account"), ("none", "none"), ("metadata", "metadata at most"), ("full", "full, where the account is"))
_GRACES: Final = tuple((str(hours), "at once" if hours == 0 else f"after {hours} h") for hours in key_rotation.GRACE_HOURS)
