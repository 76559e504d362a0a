"""What each generation of Claude takes, read from its upstream name: its API answers 400 to settings that an older one needed.

From Anthropic's migration guides for Claude 4.5 to 5.5 and Fable 5 (platform.claude.com/docs/en/models). A model of another name, as
servers have that only speak the same API, is taken as it was when thinking had a budget and sampling could be set.
"""

import functools
import re
from typing import Final, Literal

import msgspec

_VERSION: Final = re.compile(r"(?<!\d)(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")
NEWEST: Final = (99, 0)
EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")


class Claude(msgspec.Struct, frozen=True, kw_only=True):
    """`adaptive`: thinks as much as it sees fit, steered by an effort; `budget`: thinks up to a budget.

    `off`: the `thinking.type` that stops it, None = by saying nothing, "never" = it cannot be stopped. `sampling`: temperature, top_p
    and top_k are taken, `both` also temperature and top_p together; `forced`: a tool choice other than auto and none.
    """

    adaptive: bool = False
    budget: bool = True
    off: Literal["disabled", "between_tools", "never"] | None = "disabled"
    sampling: bool = True
    both: bool = True
    forced: bool = True
    efforts: tuple[str, ...] = ()


@functools.lru_cache(maxsize=1024)
def claude(upstream_model: str) -> Claude:
    """By the name at Anthropic, Bedrock or Vertex."""
    _, found, rest = upstream_model.lower().rpartition("claude")
    if not found:
        return Claude()
    version, always = _version(rest), "fable" in rest or "mythos" in rest
    adaptive = always or version >= (4, 6)
    return Claude(
        adaptive=adaptive,
        budget=not always and (3, 7) <= version <= (4, 6),
        off="never" if always else _off(version, rest),
        sampling=not always and version < (4, 7),
        both=not always and version < (4, 1),
        forced=not always and version < (5, 5),
        efforts=_efforts(version, rest) if adaptive else (),
    )


def _version(rest: str) -> tuple[int, int]:
    """An alias without a number is the newest; a date is no version."""
    found = _VERSION.search(rest)
    return (int(found[1]), int(found[2] or 0)) if found else NEWEST


def _off(version: tuple[int, int], rest: str) -> Literal["disabled", "between_tools", "never"] | None:
    if version >= (5, 5):
        return "between_tools" if "sonnet" in rest else "disabled" if "haiku" in rest else "never"
    return None if version < (3, 7) or (4, 7) <= version < (5, 0) else "disabled"


def _efforts(version: tuple[int, int], rest: str) -> tuple[str, ...]:
    if version > (4, 6):
        return EFFORTS
    return ("low", "medium", "high", "max") if "opus" in rest else ("low", "medium", "high")
