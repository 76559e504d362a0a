"""/dashboard/privacy: what is kept of prompts and answers, in plain words; the choice, what is stored now, and every change there was."""

from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any, Final

import msgspec
from litestar import Response, get, post
from litestar.params import FromQuery
from sqlmodel import Session

from gateway.api.account import format_percent
from gateway.dashboard.form import posted
from gateway.dashboard.page import go, noticed, page
from gateway.dashboard.visitor import NoSuchPage, Plain, Visitor, visitor_of
from gateway.services import Services
from metering import ledger
from metering.money import now_ms
from policy import account_keys, account_privacy, account_rules, actors, audit, content_kept, retention, rights_requests
from policy.account_privacy import Choice
from policy.audit import Deed
from policy.content_kept import Kept
from policy.errors import InvalidPrivacy
from policy.privacy import Privacy
from policy.privacy_tables import PrivacyChange
from policy.rights_tables import RightsRequest
from policy.rules import Rules
from policy.tables import Key

HERE: Final = "/dashboard/privacy"
SHOWN: Final = 25
"""Changes on one page."""


class ChoiceForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    logging: str
    retention_days: str = "30"
    sampling_percent: str = "100"
    which_keys: str = "all"
    keys: tuple[str, ...] = ()
    chat_history: bool = False
    traces_with_content: bool = False
    evaluation_sets: bool = False
    memories: bool = False
    product_improvement: bool = False


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """All that the page shows of the account. `labels` by id of a key, `who` by id of an actor, `available` nano-USD."""

    choice: Choice
    history: list[PrivacyChange]
    who: dict[str, str]
    labels: dict[str, str]
    kept: Kept
    rules: Rules
    requests: list[RightsRequest]
    available: int


@get(HERE, include_in_schema=False)
async def show_privacy(request: Plain, offset: FromQuery[int] = 0) -> Response[str]:
    visitor = await visitor_of(request, "privacy.read")
    return await shown(request, visitor, offset=max(0, min(offset, account_privacy.HISTORY_MAX)))


@post(HERE, include_in_schema=False)
async def change_privacy(request: Plain) -> Response[str]:
    """Every field of the choice at once, as the form shows them."""
    visitor, form = await posted(request, "privacy.change", ChoiceForm)
    at: Services = request.app.state.services
    await _check_keys(visitor, form.keys, at)
    now = now_ms()
    try:
        fields = _fields(form)
        deed = Deed(actor=visitor.actor, action="privacy.change", account_id=visitor.account_id, change={"fields": sorted(fields)})
        work = partial(account_privacy.change, account_id=visitor.account_id, fields=fields, actor=visitor.actor, now=now)
        await at.database.write(audit.noted, deed, now, work)
    except InvalidPrivacy as error:
        return await shown(request, visitor, problem=error.message, form=form, status=400)
    return go(HERE, done="privacy.changed")


async def shown(
    request: Plain, visitor: Visitor, *, offset: int = 0, problem: str | None = None, form: ChoiceForm | None = None, status: int = 200
) -> Response[str]:
    """The page; `form` is what was sent and refused."""
    at: Services = request.app.state.services
    now = now_ms()
    seen = await at.database.read(_seen, visitor.account_id, offset=offset, owner=visitor.may("privacy.change"), now=now)
    return page(
        "privacy.html", visitor, status=status, here="privacy", problem=problem, notice=noticed(request), seen=seen,
        form=form or _form(seen.choice.privacy), changes=_changes(seen.history)[:SHOWN], offset=offset, more=len(seen.history) > SHOWN,
        shown=SHOWN, categories=retention.CATEGORIES, optins=_OPTINS, discount=_discount(at), standing=visitor.visit.standing, now=now,
        kinds=_KINDS, laws=_LAWS, is_overdue=rights_requests.is_overdue,
    )  # fmt: skip


def _seen(session: Session, account_id: str, *, offset: int, owner: bool, now: int) -> Seen:
    choice, history = account_privacy.of(session, account_id), account_privacy.history(session, account_id)
    longest = max((msgspec.json.decode(each.document)["retention_days"] for each in history), default=choice.privacy.retention_days)
    page = history[offset : offset + SHOWN + 1]
    asked = [*rights_requests.open_page(session, account_id=account_id), *rights_requests.last_closed(session, account_id=account_id)]
    return Seen(
        choice=choice, history=page, who=actors.names(session, account_id, {each.actor for each in page}),
        labels=_labels(session, account_id, choice.privacy.keys or ()), rules=account_rules.of(session, account_id),
        kept=content_kept.kept(session, account_id, longest_days=longest, now=now),
        requests=asked if owner else [], available=ledger.available(session, account_id),
    )  # fmt: skip


def _labels(session: Session, account_id: str, chosen: tuple[str, ...]) -> dict[str, str]:
    """The first keys of the account, and those that were chosen whether or not they are among them."""
    keys = account_keys.page(session, account_id, offset=0, with_disabled=True)
    found = {key.id: _label(key) for key in keys if key.kind != "management"}
    for id in chosen:
        key = None if id in found else session.get(Key, id)
        if key is not None and key.account_id == account_id:
            found[id] = _label(key)
    return found | {id: id for id in chosen if id not in found}


def _label(key: Key) -> str:
    return f"{key.name or key.kind} ({key.label})" + (", revoked" if key.revoked_at is not None else "")


async def _check_keys(visitor: Visitor, ids: tuple[str, ...], at: Services) -> None:
    """Another account's key is none of theirs; one that was chosen before may have gone since."""
    chosen = (await at.database.read(account_privacy.of, visitor.account_id)).privacy.keys or ()
    for id in ids:
        if id not in chosen and (not id.isprintable() or await at.database.read(account_keys.id_of, visitor.account_id, id) != id):
            raise NoSuchPage


def _fields(form: ChoiceForm) -> dict[str, Any]:
    """As `account_privacy.change` takes them. InvalidPrivacy for what is no number."""
    if not form.retention_days.isdecimal():
        raise InvalidPrivacy("retention_days: write a whole number of days from 1 to 365.")
    flags = {name: getattr(form, name) for name, _, _ in _OPTINS}
    keys = list(dict.fromkeys(form.keys)) if form.which_keys == "these" else None
    sample = {"retention_days": int(form.retention_days[:9]), "sampling_rate": _rate(form.sampling_percent), "keys": keys}
    return {"logging": form.logging, **sample, **flags}


def _rate(percent: str) -> float:
    try:
        share = Decimal(percent.strip())
    except InvalidOperation:
        share = Decimal(0)
    if not share.is_finite() or not 0 < share <= 100:
        raise InvalidPrivacy("sampling_percent: write a percentage above 0 and at most 100.")
    return float(share / 100)


def _form(privacy: Privacy) -> ChoiceForm:
    flags = {name: getattr(privacy, name) for name, _, _ in _OPTINS}
    return ChoiceForm(
        logging=privacy.logging, retention_days=str(privacy.retention_days), sampling_percent=_percent(privacy.sampling_rate),
        which_keys="all" if privacy.keys is None else "these", keys=privacy.keys or (), **flags,
    )  # fmt: skip


def _percent(rate: float) -> str:
    return f"{Decimal(str(rate)) * 100:f}".rstrip("0").rstrip(".") if rate != 1 else "100"


def _changes(history: list[PrivacyChange]) -> list[tuple[PrivacyChange, list[str]]]:
    """Each change with what it changed in words: its document beside the one before it, the default for the first."""
    documents = [msgspec.json.decode(each.document) for each in history]
    before = [*documents[1:], msgspec.to_builtins(Privacy()) if history[-1].version == 1 else None] if history else []
    return [(each, _said(new, old)) for each, new, old in zip(history, documents, before[: len(history)], strict=True)]


def _said(new: dict[str, Any], old: dict[str, Any] | None) -> list[str]:
    changed = [f"{name.replace('_', ' ')}: {_value(value)}" for name, value in new.items() if old is None or old.get(name) != value]
    return changed or ["nothing else than the default, chosen"]


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return f"{len(value)} chosen"
    return "all" if value is None else str(value)


def _discount(at: Services) -> str:
    bps = at.settings.sharing_discount_bps
    return f"{format_percent(bps)} %" if bps else ""


_OPTINS: Final = (
    ("chat_history", "Chat history", "For a chat that remembers its conversations. It stores nothing yet: there is no such chat."),
    ("traces_with_content", "Traces with content", "For traces that show prompts. It stores nothing yet: traces never hold content."),
    ("evaluation_sets", "Evaluation sets", "For comparing models on your own prompts. It stores nothing yet: no set is collected."),
    ("memories", "Memories", "For facts that are remembered between requests. It stores nothing yet: nothing is remembered."),
    (
        "product_improvement",
        "Product improvement",
        "For making Tollway better with your requests. It stores nothing yet: none is looked at.",
    ),
)
_KINDS: Final = tuple((kind, kind) for kind in rights_requests.KINDS)
_LAWS: Final = tuple((law, f"{law.upper()}, answered within {days} days") for law, days in rights_requests.DAYS.items())
