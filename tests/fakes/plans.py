"""Which plan a request gets: the one set through the control API for its model, or the one its model name spells."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from tests.fakes.faults import FAULTS, Json

_MS_MEANS = {
    "slow-first-token": "first_ms",
    "slow-tokens": "token_ms",
    "endless": "token_ms",
    "slow-headers": "header_ms",
    "stall-midstream": "stall_ms",
    "ok-then-close-idle": "idle_ms",
}


class UnknownFaultError(Exception):
    """The control API was given a fault that does not exist."""


@dataclass(frozen=True)
class Plan:
    """What to do with one request: the faults, and their parameters with the defaults filled in."""

    faults: frozenset[str] = frozenset()
    params: Mapping[str, Json] = field(default_factory=dict)

    def has(self, *names: str) -> bool:
        return not self.faults.isdisjoint(names)

    def number(self, name: str, default: int = 0) -> int:
        value = self.params.get(name, default)
        return value if isinstance(value, int) else default

    def text(self, name: str, default: str = "") -> str:
        value = self.params.get(name)
        return default if value is None else str(value)

    def seconds(self, name: str) -> float:
        value = self.params.get(name, 0)
        return max(0.0, value / 1000) if isinstance(value, int | float) else 0.0


class Plans:
    """The plans set by the control API, and how often each `fail-then-ok` model has failed already."""

    def __init__(self) -> None:
        self._set: dict[str, Plan] = {}
        self._failed: dict[str, int] = {}

    def put(self, model: str, wish: Mapping[str, Json]) -> None:
        fault = wish.get("fault", [])
        names = [name for name in fault.split("+") if name] if isinstance(fault, str) else list(fault)
        if unknown := [name for name in names if name not in FAULTS]:
            raise UnknownFaultError(f"no such fault: {', '.join(map(str, unknown))}")
        self._set[model] = _plan(names, {key: value for key, value in wish.items() if key != "fault"})
        self._failed.pop(model, None)

    def clear(self) -> None:
        self._set.clear()
        self._failed.clear()

    def choose(self, model: str) -> Plan:
        plan = self._set.get(model) or named_plan(model)
        if not plan.has("fail-then-ok"):
            return plan
        failed = self._failed.get(model, 0)
        if failed >= plan.number("times"):
            return Plan(plan.faults - {"fail-then-ok"}, plan.params)
        self._failed[model] = failed + 1
        how = plan.text("how")
        return Plan(frozenset({how}), {**FAULTS.get(how, {}), **plan.params})


def named_plan(model: str) -> Plan:
    """The plan that a model name spells; an ordinary name spells none."""
    base, _, tail = model.partition("@")
    names = base.split("+")
    pairs = (pair.partition("=") for pair in tail.split(",") if "=" in pair)
    params = {key.strip(): _value(unquote(value)) for key, _, value in pairs}
    return _plan(names if all(name in FAULTS for name in names) else [], params)


def _plan(names: list[str], params: Mapping[str, Json]) -> Plan:
    filled = {key: value for name in names for key, value in FAULTS[name].items()}
    if "endless" in names and "tokens" in params:
        filled["token_ms"] = 0
    for name in names:
        if name in _MS_MEANS and "ms" in params:
            filled[_MS_MEANS[name]] = params["ms"]
    return Plan(frozenset(names), {**filled, **params})


def _value(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text
