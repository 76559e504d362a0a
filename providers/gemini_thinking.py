"""How much a Gemini model is to think, from `reasoning` or `reasoning_effort`: a level for Gemini 3 and later, a budget before.

Levels and budgets as in Google's guide to thinking (ai.google.dev/gemini-api/docs/thinking); both at once are refused there.
"""

import re
from typing import Any, Final

import msgspec

from providers.provider import Call

LEVELLED: Final = re.compile(r"gemini-(?:[3-9]|[1-9]\d)|gemini-.*-latest")
"""Models that think by level, and refuse a function call of their own that comes back without its signature."""
SHARES: Final = {"max": 0.95, "xhigh": 0.95, "high": 0.8, "medium": 0.5, "low": 0.2, "minimal": 0.1, "none": 0.0}
"""An effort as a share of the output limit, as OpenRouter has it."""
BUDGETED: Final = re.compile(r"gemini-2\.5|gemini-robotics")
"""Models that think by budget. The others do not think, and refuse to be asked."""
BUDGETS: Final = (("2.5-pro", 128, 128, 32_768), ("2.5-flash-lite", 0, 512, 24_576), ("", 0, 1, 24_576))
"""Part of the model's name -> the budget that comes nearest to none, the least and the most."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What the client asked for: an effort, or tokens, or only that it thinks; `odd` if some of it could not be understood."""

    effort: str | None
    tokens: int | None
    enabled: bool
    shown: bool
    odd: bool


def thinking_config(body: dict[str, Any], call: Call) -> dict[str, Any]:
    """Nothing where nothing was asked: then the model's own default holds. What is not kept to the letter is named to `call.adjust`."""
    sent, kept = _sent(_wish(body), call)
    if not kept:
        call.adjust("reasoning" if "reasoning" in body else "reasoning_effort")
    return {"thinkingConfig": sent} if sent else {}


def _wish(body: dict[str, Any]) -> Wish:
    asked = body["reasoning"] if isinstance(body.get("reasoning"), dict) else {}
    effort, tokens, enabled = body.get("reasoning_effort") or asked.get("effort"), asked.get("max_tokens"), asked.get("enabled")
    if enabled is False:
        effort, tokens = "none", None
    known, counted = isinstance(effort, str) and effort in SHARES, type(tokens) is int
    return Wish(
        effort=effort if known else None,
        tokens=tokens if counted else None,
        enabled=enabled is True,
        shown=effort != "none" and not asked.get("exclude"),
        odd=(effort is not None and not known) or (tokens is not None and not counted),
    )


def _sent(wish: Wish, call: Call) -> tuple[dict[str, Any], bool]:
    """The thinkingConfig, and whether it is all that was asked for."""
    model, limit = call.endpoint.upstream_model, call.max_tokens or call.endpoint.max_output_tokens or call.endpoint.context_length
    levelled, shown = LEVELLED.match(model) is not None, {"includeThoughts": wish.shown}
    if not levelled and not BUDGETED.match(model):
        return {}, not wish.odd and not wish.enabled and wish.tokens is None and wish.effort in (None, "none")
    if wish.tokens is None and wish.effort is None:
        return shown if wish.enabled else {}, not wish.odd
    amount = int(SHARES[wish.effort or "none"] * limit) if wish.tokens is None else wish.tokens
    counted = wish.tokens is not None or wish.effort == "none"
    if levelled:
        return {**shown, "thinkingLevel": _level(amount, limit)}, not counted and wish.effort != "minimal"
    budget = _budget(amount, model)
    return {**shown, "thinkingBudget": budget}, not counted or budget == amount


def _level(amount: int, limit: int) -> str:
    """The level whose share is nearest. `minimal` is left out: half of these models refuse it, as most refuse not to think at all."""
    return "HIGH" if amount * 100 >= 65 * limit else "MEDIUM" if amount * 100 >= 35 * limit else "LOW"


def _budget(amount: int, model: str) -> int:
    none, least, most = next(bounds for name, *bounds in BUDGETS if name in model)
    return min(max(amount, least), most) if amount > 0 else none
