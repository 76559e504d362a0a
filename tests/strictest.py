"""Which endpoints all the rules about data allow at once, from what was written and nothing of the code under test."""

from collections.abc import Mapping
from typing import Any, NamedTuple

RULES = ("data_collection", "zdr", "region")
Written = Mapping[str, Any] | None
"""What an account, a key, a preset or a request says, as JSON: `data_collection`, `zdr`, `region` among other things."""


class Served(NamedTuple):
    """What is known of an endpoint: None, and no region, mean that nobody knows."""

    trains: bool | None
    days: int | None
    regions: frozenset[str]


def sets(source: Written, rule: str) -> bool:
    """Whether it asks for something at all: "allow", false, null and an empty list do not."""
    return bool(source) and source is not None and source.get(rule) not in (None, False, "allow", [])


def violated(served: Served, *sources: Written) -> set[str]:
    """The rules that somebody set and this endpoint breaks: each source by itself, so the strictest counts."""
    found = set()
    for source in sources:
        if source is None:
            continue
        if sets(source, "data_collection") and served.trains is not False:
            found.add("data_collection")
        if sets(source, "zdr") and (served.trains, served.days) != (False, 0):
            found.add("zdr")
        if sets(source, "region"):
            region = source["region"]
            allowed = {name.lower() for name in ([region] if isinstance(region, str) else region)}
            if not served.regions or served.regions - allowed:
                found.add("region")
    return found
