"""logs and generation/content: what was kept of prompts and answers, for the account alone, and its deletion by the account itself."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from litestar import delete, get
from litestar.datastructures import State
from litestar.params import FromQuery
from sqlmodel import Session

from gateway.api.account import Plain, caller_of, generation_of, manager_of
from gateway.errors import BadRequest
from gateway.services import Services
from gateway.timespan import WrongSpan, iso, moment
from metering.money import now_ms
from policy import audit, content_store
from policy.audit import Deed
from policy.caller import Caller
from policy.content_store import PAGE_MAX, Log, Receipt
from policy.errors import SealBroken

WHAT: Final = "read or change what is kept of the account's requests"
LOGS: Final = ["/v1/logs", "/api/v1/logs"]
_SEALED: Final = (
    "What was kept of this generation does not open: it was changed, or the key that sealed it is gone. "
    "Ask the operator; DELETE logs removes it."
)
_log = logging.getLogger("tollway.content")


@get(["/v1/generation/content", "/api/v1/generation/content"], summary="The prompt and the answer of a generation, if they were kept")
async def get_content(request: Plain, state: State, id: FromQuery[str] = "") -> dict[str, Any]:
    at: Services = state.services
    caller = await caller_of(request, at)
    await generation_of(id, caller, at)
    try:
        found = await at.database.read(content_store.find, generation_id=id, account_id=caller.account_id, wrapper=at.wrapper, now=now_ms())
    except SealBroken:
        _log.error("the content of %s does not open", id)
        raise BadRequest(_SEALED, param="id", status=410, error_type="gone") from None
    if found is None:
        raise BadRequest(_nothing_kept(caller), param="id", status=404, error_type="not_found")
    return {"data": found.reveal()}


@get(LOGS, summary="What is kept, newest first: one row per generation, without its content")
async def list_logs(request: Plain, state: State, limit: FromQuery[int] = 50, after: FromQuery[str] = "") -> dict[str, Any]:
    """`after` is the `next` of the page before."""
    at: Services = state.services
    caller = await manager_of(request, at, WHAT)
    if not 1 <= limit <= PAGE_MAX:
        raise BadRequest(f"limit: write a whole number from 1 to {PAGE_MAX}.", param="limit")
    logs = await at.database.read(content_store.page, caller.account_id, before=_place(after), limit=limit, now=now_ms())
    last = f"{logs[-1].created_at}.{logs[-1].generation_id}" if len(logs) == limit else None
    return {"data": [log_object(log) for log in logs], "next": last}


@delete(LOGS, status_code=200, summary="Deletes what is kept: all, one generation's (`id`), or all before a moment (`before`)")
async def delete_logs(
    request: Plain, state: State, id: FromQuery[str | None] = None, before: FromQuery[str | None] = None
) -> dict[str, Any]:
    """The receipt counts what went. Deleting everything destroys the keys first, so that no backup can be read either."""
    at: Services = state.services
    caller = await manager_of(request, at, WHAT)
    for name in request.query_params:
        if name not in ("id", "before"):
            raise BadRequest(f"{name}: is not known here; use id, before, or neither for everything.", param=name)
    if id is not None and before is not None:
        raise BadRequest("id: leave out one of id and before.", param="id")
    if id is not None and not id.isprintable():
        return {"data": receipt_object(Receipt(0, 0, 0), now_ms())}
    what = "all" if id is None and before is None else "one" if before is None else "before"
    deed = Deed(actor=caller.key_id, action="logs.delete", account_id=caller.account_id, change={"what": what})
    receipt = await at.database.write(audit.noted, deed, now_ms(), _deletion(caller.account_id, id, before), _is_something)
    return {"data": receipt_object(receipt, now_ms())}


def _deletion(account_id: str, id: str | None, before: str | None) -> Callable[[Session], Receipt]:
    if id is not None:
        return partial(content_store.delete_one, account_id=account_id, generation_id=id)
    if before is not None:
        return partial(content_store.delete_before, account_id=account_id, before=_moment(before))
    return partial(content_store.delete_all, account_id=account_id)


def _is_something(receipt: Receipt) -> bool:
    return receipt.rows > 0 or receipt.keys > 0


def log_object(log: Log) -> dict[str, Any]:
    return {
        "id": log.generation_id,
        "key_id": log.key_id,
        "created_at": iso(log.created_at),
        "expires_at": iso(log.expires_at),
        "stored_bytes": log.size,
    }


def receipt_object(receipt: Receipt, now: int) -> dict[str, Any]:
    return {"deleted": receipt.rows, "deleted_bytes": receipt.size, "deleted_keys": receipt.keys, "at": iso(now)}


def _nothing_kept(caller: Caller) -> str:
    if caller.choice.privacy.logging != "full":
        return (
            "Nothing was kept of what this generation was asked and what it answered: logging of prompts and answers is off for this "
            'account. PATCH /v1/account/privacy {"logging": "full"} keeps them from then on.'
        )
    return "Nothing is kept of this generation: logging was not on for it, it was not in the sample, it was deleted, or its days are over."


def _place(after: str) -> tuple[int, str] | None:
    if not after:
        return None
    at, _, id = after.partition(".")
    if not at.isdecimal() or len(at) > 16 or not id or not id.isprintable():
        raise BadRequest("after: write the `next` of the page before.", param="after")
    return int(at), id


def _moment(text: str) -> int:
    try:
        return moment(text, "before")
    except WrongSpan as error:
        raise BadRequest(f"{error}.", param="before") from None
