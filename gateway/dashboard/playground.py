"""/dashboard/playground: a prompt through the real API, routed, metered and charged like any other; streamed where there is JavaScript."""

import secrets
from decimal import Decimal
from typing import Any, Final

import msgspec
from litestar import Response, get, post
from litestar.params import FromQuery

from gateway.api.offers import offers
from gateway.dashboard.form import Nothing, posted
from gateway.dashboard.page import HEADERS, page
from gateway.dashboard.visitor import Plain, Visitor, visitor_of
from gateway.in_process import chat_completion
from gateway.services import Services
from metering.money import now_ms
from policy import keys, playground

HERE: Final = "/dashboard/playground"
MAX_TOKENS: Final = 1000
_ANSWER: Final = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)
"""Amounts keep their digits."""


class PromptForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    prompt: str
    model: str = "tollway/echo"
    system: str = ""
    max_tokens: int = MAX_TOKENS


@get(HERE, include_in_schema=False)
async def show_playground(request: Plain, model: FromQuery[str] = "tollway/echo") -> Response[str]:
    visitor = await visitor_of(request, "playground.use")
    return _shown(request, visitor, form=PromptForm(prompt="", model=model[:200]))


@post(f"{HERE}/key", include_in_schema=False)
async def make_key(request: Plain) -> Response[dict[str, str]]:
    """A key for an hour, for the page's own script, which calls the API with it."""
    visitor, _ = await posted(request, "playground.use", Nothing)
    return Response({"key": await _key(request, visitor)}, status_code=200, headers=HEADERS)


@post(HERE, include_in_schema=False)
async def ask(request: Plain) -> Response[str]:
    """Without JavaScript: the whole answer on a page. Nothing of it is kept but what the account's choice lets be kept."""
    visitor, form = await posted(request, "playground.use", PromptForm)
    at: Services = request.app.state.services
    system = [{"role": "system", "content": form.system}] if form.system else []
    body = {"model": form.model, "max_tokens": form.max_tokens, "messages": [*system, {"role": "user", "content": form.prompt}]}
    status, headers, raw = await chat_completion(msgspec.json.encode(body), await _key(request, visitor), at)
    answer: dict[str, Any] = _ANSWER.decode(raw) if raw else {}
    problem = answer.get("error", {}).get("message") if status != 200 else None
    generation = headers.get("x-generation-id")
    return _shown(
        request, visitor, form=form, answer=answer if status == 200 else None, generation=generation, problem=problem, status=status
    )


async def _key(request: Plain, visitor: Visitor) -> str:
    at: Services = request.app.state.services
    token = keys.generate(secrets.randbelow)
    await at.database.write(
        playground.make_key, visitor.account_id, member_id=visitor.membership.member_id, token=token, pepper=at.pepper,
        id=f"key_{secrets.token_hex(12)}", now=now_ms(),
    )  # fmt: skip
    return token


def _shown(
    request: Plain,
    visitor: Visitor,
    *,
    form: PromptForm,
    answer: dict[str, Any] | None = None,
    generation: str | None = None,
    problem: str | None = None,
    status: int = 200,
) -> Response[str]:
    return page(
        "playground.html", visitor, status=status, here="playground", form=form, answer=answer, generation=generation, problem=problem,
        models=sorted(offers(request.app.state)),
    )  # fmt: skip
