"""/dashboard/logs: the prompts and answers that an account keeps, to read and to delete. What they say is on these pages alone."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath, FromQuery
from sqlmodel import Session, col, select

from gateway.dashboard.form import Nothing, posted
from gateway.dashboard.page import HEADERS, page
from gateway.dashboard.said import shown
from gateway.dashboard.visitor import NoSuchPage, Plain, Visitor, visitor_of
from gateway.errors import BadRequest
from gateway.services import Services
from gateway.timespan import WrongSpan, moment
from metering.money import now_ms
from metering.tables import Generation
from policy import account_privacy, actors, audit, content_kept, content_store
from policy.audit import Deed
from policy.content_store import Log, Receipt
from policy.errors import SealBroken
from providers.content import Content

HERE: Final = "/dashboard/logs"
LOG: Final = f"{HERE}/{{generation_id:str}}"
PAGE: Final = 50
_SEALED: Final = (
    "What was kept of this generation does not open: it was changed, or the key that sealed it is gone. Ask the operator, or delete it."
)
_log = logging.getLogger("tollway.content")


class BeforeForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    before: str


class Row(NamedTuple):
    """`model` is None where the generation's row is gone; `key` its name."""

    log: Log
    model: str | None
    key: str


@get(HERE, include_in_schema=False)
async def show_logs(request: Plain, after: FromQuery[str] = "") -> Response[str]:
    """`after` is the place of the last one that was seen, as the link to older ones has it."""
    visitor = await visitor_of(request, "logs.read")
    return await _list(request, visitor, before=_place(after))


@get(LOG, include_in_schema=False)
async def show_log(request: Plain, generation_id: FromPath[str]) -> Response[str]:
    visitor = await visitor_of(request, "logs.read")
    at: Services = request.app.state.services
    row = await _row(visitor, generation_id, at)
    try:
        content = await _content(visitor, generation_id, at)
    except SealBroken:
        _log.error("the content of %s does not open", generation_id)
        return page("log.html", visitor, status=410, here="logs", row=row, said=None, problem=_SEALED)
    return page("log.html", visitor, here="logs", row=row, said=shown(content.reveal()))


@get(f"{LOG}/json", include_in_schema=False)
async def download_log(request: Plain, generation_id: FromPath[str]) -> Response[bytes]:
    visitor = await visitor_of(request, "logs.read")
    at: Services = request.app.state.services
    row = await _row(visitor, generation_id, at)
    try:
        content = await _content(visitor, generation_id, at)
    except SealBroken:
        raise BadRequest(_SEALED, status=410) from None
    headers = {**HEADERS, "content-disposition": f'attachment; filename="{row.log.generation_id}.json"'}
    return Response(msgspec.json.encode(content.reveal()), media_type="application/json", headers=headers)


@post(f"{LOG}/delete", status_code=200, include_in_schema=False)
async def delete_log(request: Plain, generation_id: FromPath[str]) -> Response[str]:
    visitor, _ = await posted(request, "logs.delete", Nothing)
    at: Services = request.app.state.services
    await _row(visitor, generation_id, at)
    work = partial(content_store.delete_one, account_id=visitor.account_id, generation_id=generation_id)
    return await _deleted(request, visitor, "one", work)


@post(f"{HERE}/delete-before", status_code=200, include_in_schema=False)
async def delete_before(request: Plain) -> Response[str]:
    visitor, form = await posted(request, "logs.delete", BeforeForm)
    try:
        until = moment(form.before, "before")
    except WrongSpan as error:
        return await _list(request, visitor, problem=f"{error}.", status=400)
    return await _deleted(request, visitor, "before", partial(content_store.delete_before, account_id=visitor.account_id, before=until))


@post(f"{HERE}/delete-all", status_code=200, include_in_schema=False)
async def delete_all(request: Plain) -> Response[str]:
    visitor, _ = await posted(request, "logs.delete", Nothing)
    return await _deleted(request, visitor, "all", partial(content_store.delete_all, account_id=visitor.account_id))


async def _deleted(request: Plain, visitor: Visitor, what: str, work: Callable[[Session], Receipt]) -> Response[str]:
    """The list as it is then, with the receipt above it."""
    at: Services = request.app.state.services
    deed = Deed(actor=visitor.actor, action="logs.delete", account_id=visitor.account_id, change={"what": what})
    receipt = await at.database.write(audit.noted, deed, now_ms(), work, lambda gone: gone.rows > 0 or gone.keys > 0)
    notice = f"Deleted for good: {receipt.rows:,} logs, {receipt.size:,} bytes, and {receipt.keys:,} keys that had sealed them."
    return await _list(request, visitor, notice=notice)


async def _list(
    request: Plain, visitor: Visitor, *, before: tuple[int, str] | None = None, notice: str | None = None, problem: str | None = None,
    status: int = 200,
) -> Response[str]:  # fmt: skip
    at: Services = request.app.state.services
    choice = (await at.database.read(account_privacy.of, visitor.account_id)).privacy
    rows = await at.database.read(_page, visitor.account_id, before=before, now=now_ms())
    last = rows[PAGE - 1].log if len(rows) > PAGE else None
    return page(
        "logs.html", visitor, status=status, here="logs", rows=rows[:PAGE], choice=choice, notice=notice, problem=problem,
        first=before is None, next=f"{last.created_at}.{last.generation_id}" if last else None,
    )  # fmt: skip


def _page(session: Session, account_id: str, *, before: tuple[int, str] | None, now: int) -> list[Row]:
    logs = content_store.page(session, account_id, before=before, limit=PAGE + 1, now=now)
    return _rows(session, account_id, logs)


def _rows(session: Session, account_id: str, logs: list[Log]) -> list[Row]:
    # By the ids alone, which are this account's: with the account in it SQLite would rather read all its generations.
    wanted = select(Generation.id, Generation.model).where(col(Generation.id).in_([log.generation_id for log in logs]))
    models = dict(session.exec(wanted).all())
    keys = actors.names(session, account_id, {log.key_id for log in logs})
    return [Row(log, models.get(log.generation_id), keys[log.key_id]) for log in logs]


def _one(session: Session, account_id: str, generation_id: str, now: int) -> Row | None:
    log = content_kept.one(session, account_id, generation_id, now=now)
    return None if log is None else _rows(session, account_id, [log])[0]


async def _row(visitor: Visitor, generation_id: str, at: Services) -> Row:
    row = await at.database.read(_one, visitor.account_id, generation_id, now_ms()) if generation_id.isprintable() else None
    if row is None:
        raise NoSuchPage
    return row


async def _content(visitor: Visitor, generation_id: str, at: Services) -> Content[dict[str, Any]]:
    find = partial(content_store.find, generation_id=generation_id, account_id=visitor.account_id, wrapper=at.wrapper, now=now_ms())
    content = await at.database.read(find)
    if content is None:
        raise NoSuchPage
    return content


def _place(after: str) -> tuple[int, str] | None:
    if not after:
        return None
    at, _, id = after.partition(".")
    if not at.isdecimal() or len(at) > 16 or not id or not id.isprintable():
        raise BadRequest("after: follow the link to older logs; this place does not exist.", param="after")
    return int(at), id
