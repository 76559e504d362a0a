"""/dashboard/routing: the account's rules, presets and policies, and a live explanation of a request's route under them."""

import secrets
from functools import partial
from typing import Any, Final

import msgspec
from litestar import Response, get, post
from litestar.params import FromQuery
from sqlmodel import Session

from gateway.api.explain import read_asked
from gateway.dashboard.form import posted
from gateway.dashboard.page import go, noticed, page
from gateway.dashboard.visitor import Plain, Visitor, visitor_of
from gateway.deprecation import day
from gateway.errors import BadRequest
from gateway.explanation import explanation
from gateway.services import Services
from metering.money import now_ms
from policy import account_privacy, account_rules, audit, own_keys
from policy.audit import Deed
from policy.caller import Caller
from policy.errors import InvalidPreferences, InvalidRules, PolicyError
from policy.route import draw_of
from policy.rules import Rules

HERE: Final = "/dashboard/routing"
JSON_CHARACTERS_MAX: Final = 16_000
EXAMPLE: Final = "tollway/echo"


class RulesForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`region` and the four lists: one name a line, or with commas."""

    data_collection: str = ""
    zdr: bool = False
    region: str = ""
    allowed_models: str = ""
    ignored_models: str = ""
    allowed_providers: str = ""
    ignored_providers: str = ""
    max_prompt: str = ""
    max_completion: str = ""
    resumable_streams: bool = False


class DocumentForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    document: str = "{}"


@get(HERE, include_in_schema=False)
async def show_routing(request: Plain, model: FromQuery[str] = "", provider: FromQuery[str] = "") -> Response[str]:
    visitor = await visitor_of(request, "routing.read")
    return await _shown(request, visitor, model=model, provider=provider)


@post(HERE, include_in_schema=False)
async def change_rules(request: Plain) -> Response[str]:
    visitor, form = await posted(request, "routing.change", RulesForm)
    lists = ("region", "allowed_models", "ignored_models", "allowed_providers", "ignored_providers")
    price = {"prompt": form.max_prompt, "completion": form.max_completion}
    changes: dict[str, Any] = {name: getattr(form, name).replace(",", " ").split() or None for name in lists}
    changes["data_collection"] = form.data_collection or None
    changes["zdr"] = form.zdr or None
    changes["resumable_streams"] = form.resumable_streams or None
    changes["max_price"] = {name: value for name, value in price.items() if value} or None
    return await _written(request, visitor, partial(account_rules.patch, raw=changes), changes)


@post(f"{HERE}/document", include_in_schema=False)
async def change_document(request: Plain) -> Response[str]:
    visitor, form = await posted(request, "routing.change", DocumentForm)
    try:
        document = msgspec.json.decode(form.document)
        if not isinstance(document, dict):
            raise InvalidRules("rules: write a JSON object.")
    except (msgspec.DecodeError, RecursionError):
        return await _shown(request, visitor, problem="The document is not valid JSON.", draft=form.document, status=400)
    except InvalidRules as error:
        return await _shown(request, visitor, problem=error.message, draft=form.document, status=400)
    return await _written(request, visitor, partial(account_rules.put, raw=document), document, draft=form.document)


async def _written(request: Plain, visitor: Visitor, work: Any, given: dict[str, Any], draft: str | None = None) -> Response[str]:
    at: Services = request.app.state.services
    now = now_ms()
    fields = sorted(set(given) & set(Rules.__struct_fields__))
    deed = Deed(actor=visitor.actor, action="rules.change", account_id=visitor.account_id, change={"fields": fields})
    try:
        await at.database.write(audit.noted, deed, now, partial(work, account_id=visitor.account_id, now=now))
    except InvalidRules as error:
        return await _shown(request, visitor, problem=error.message, draft=draft, status=400)
    return go(HERE, done="rules.changed")


async def _shown(
    request: Plain,
    visitor: Visitor,
    *,
    model: str = "",
    provider: str = "",
    problem: str | None = None,
    draft: str | None = None,
    status: int = 200,
) -> Response[str]:
    at: Services = request.app.state.services
    document, caller = await at.database.read(_known, visitor)
    asked, wrong = None, None
    try:
        asked = _explained(at, caller, model.strip() or EXAMPLE, provider)
    except (BadRequest, PolicyError) as error:
        wrong = getattr(error, "message", None) or str(error)
    return page(
        "routing.html", visitor, status=status, here="routing", notice=noticed(request), problem=problem, document=document,
        written=draft or msgspec.json.format(msgspec.json.encode(document), indent=2).decode(), model=model or EXAMPLE, provider=provider,
        asked=asked, wrong=wrong, models=sorted(at.catalog.models), changeable=visitor.may("routing.change"),
    )  # fmt: skip


def _known(session: Session, visitor: Visitor) -> tuple[dict[str, Any], Caller]:
    """The rules as they were written, and the account as it would call."""
    account_id = visitor.account_id
    caller = Caller(
        account_id=account_id, key_id=visitor.person.id, kind="owner", rules=account_rules.of(session, account_id),
        own_keys={provider: id for provider, id, _ in own_keys.of(session, account_id)}, choice=account_privacy.of(session, account_id),
    )  # fmt: skip
    return account_rules.document(session, account_id), caller


def _explained(at: Services, caller: Caller, model: str, provider: str) -> dict[str, Any]:
    """BadRequest and PolicyError say what is wrong with the example."""
    body: dict[str, Any] = {"model": model[:200]}
    if provider.strip():
        if len(provider) > JSON_CHARACTERS_MAX:
            raise BadRequest("provider: is too long.")
        try:
            body["provider"] = msgspec.json.decode(provider)
        except (msgspec.DecodeError, RecursionError):
            raise InvalidPreferences("provider: is not valid JSON.") from None
    asked, assumed = read_asked(msgspec.json.encode(body), caller)
    return explanation(
        asked, at.catalog, assumed=(assumed,), keys=at.provider_keys.keys(), rules=caller.rules, stats=at.health.stats,
        draw=draw_of(secrets.token_hex(8)), own_keys=caller.own_keys, today=day(now_ms()), charged=at.tariffs.of(caller).charged,
    )  # fmt: skip
