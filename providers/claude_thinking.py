"""How much a Claude is to think, from `reasoning` or `reasoning_effort`: by effort where it judges for itself, by a budget before that."""

from typing import Any, Final, Protocol

import msgspec

from providers.claude import Claude

SHARES: Final = {"max": 0.95, "xhigh": 0.95, "high": 0.8, "medium": 0.5, "low": 0.2, "minimal": 0.1}
"""Of the limit: the part that an effort may think with, as OpenRouter has it."""
NEAREST: Final = {"minimal": "low", "xhigh": "high", "max": "high"}
"""The effort to send where the model does not know the one that was asked for."""
BUDGET_MIN: Final = 1024
BUDGET_MAX: Final = 128_000

Settings = tuple[dict[str, Any] | None, str | None, bool]
"""What to send as `thinking`, as the effort, and whether that is all that was asked for."""


class History(Protocol):
    """What was said before, in any dialect that Claude speaks. See `anthropic_messages.Conversation`."""

    @property
    def prefilled(self) -> bool: ...
    @property
    def thoughts_lost(self) -> bool: ...


class Wish(msgspec.Struct, frozen=True):
    """What the client asked for; `odd` if some of it could not be understood."""

    effort: str | None
    budget: int | None
    enabled: bool | None
    exclude: bool
    odd: bool

    @property
    def silent(self) -> bool:
        return self.effort is None and self.budget is None and self.enabled is None


def wish(body: dict[str, Any]) -> Wish:
    asked = body.get("reasoning") or {}
    effort, budget, enabled = body.get("reasoning_effort"), asked.get("max_tokens"), asked.get("enabled")
    known = isinstance(effort, str) and (effort in SHARES or effort == "none")
    counted = type(budget) is int and budget > 0
    return Wish(
        effort=effort if known else None,
        budget=budget if counted else None,
        enabled=enabled if isinstance(enabled, bool) else None,
        exclude=bool(asked.get("exclude")),
        odd=(effort is not None and not known) or (budget is not None and not counted),
    )


def thinking(wanted: Wish, model: Claude, history: History, max_tokens: int) -> Settings:
    """Nothing where nothing was asked: then the model's own way holds."""
    if wanted.silent:
        return None, None, not wanted.odd
    if wanted.enabled is False or (wanted.effort == "none" and wanted.budget is None):
        return _off(model)
    if model.adaptive and not (wanted.budget and model.budget):
        return _adaptive(wanted, model)
    return _budgeted(wanted, model, history, max_tokens)


def _off(model: Claude) -> Settings:
    if model.off == "never":
        return None, "low", False
    return {"type": model.off} if model.off else None, None, True


def _adaptive(wanted: Wish, model: Claude) -> Settings:
    effort = wanted.effort if wanted.effort in model.efforts else NEAREST.get(wanted.effort or "")
    shown = {"type": "adaptive", "display": "omitted" if wanted.exclude else "summarized"}
    return shown, effort, effort == wanted.effort and wanted.budget is None and not wanted.odd


def _budgeted(wanted: Wish, model: Claude, history: History, max_tokens: int) -> Settings:
    """A budget is refused with a limit that leaves no room for it, with words to go on from, and where earlier thoughts are missing."""
    asked = wanted.budget or int(SHARES.get(wanted.effort or "", SHARES["medium"]) * max_tokens)
    budget = min(max(asked, BUDGET_MIN), BUDGET_MAX, max_tokens - 1)
    if not model.budget or budget < BUDGET_MIN or history.prefilled or history.thoughts_lost:
        return None, None, False
    return {"type": "enabled", "budget_tokens": budget}, None, not wanted.odd and wanted.budget in (None, budget)
