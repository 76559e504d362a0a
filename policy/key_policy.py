"""What a key asks of providers beyond its account's rules: `data_collection`, `zdr` and `region`, stored with the key as JSON.

Read once per look-up of a caller, not per request: a key's policy is folded into the rules that its requests are routed by.
"""

from functools import cached_property, lru_cache
from typing import Any, Final

import msgspec

from policy import preferences
from policy.errors import InvalidKey, InvalidPreferences
from policy.narrowing import narrowed
from policy.preferences import NOTHING, Preferences
from policy.rules import Rules, Source

FIELDS: Final = ("data_collection", "zdr", "region")
NAME: Final = "data_policy"


class KeyRules(Rules, frozen=True):
    """The rules of an account as they bind the requests of one key: the strictest of both counts, in each field."""

    key_policy: Preferences = NOTHING

    @cached_property
    def preferences(self) -> Preferences:
        return narrowed(self.key_policy, self.account)

    def sources(self, own: Preferences) -> tuple[Source, ...]:
        return (*super().sources(own), ("the key's data policy", self.key_policy))


def written(raw: object) -> str | None:
    """A decoded JSON object as it is stored; None if it asks for nothing. InvalidKey names the field; null and an empty list are absent."""
    if raw is None:
        return None
    if not isinstance(raw, dict):
        raise InvalidKey(NAME, f"write an object with {', '.join(FIELDS)}, or null")
    for name in raw:
        if name not in FIELDS:
            raise InvalidKey(f"{NAME}.{name[:100]}", f"is not a known field; use {', '.join(FIELDS)}")
    try:
        wanted = preferences.parse(raw)
    except InvalidPreferences as error:
        path, _, problem = error.message.removeprefix("provider.").rstrip(".").partition(": ")
        raise InvalidKey(f"{NAME}.{path}", problem) from None
    said = {name: value for name in FIELDS if (value := getattr(wanted, name)) is not None}
    return msgspec.json.encode(said).decode() if said else None


def shown(text: str | None) -> dict[str, Any] | None:
    """What is stored, as JSON; None = the account's rules alone."""
    return None if text is None else msgspec.json.decode(text)


def bound(rules: Rules, text: str | None) -> Rules:
    """The account's rules under the policy that is stored with a key."""
    return rules if text is None else KeyRules(**msgspec.structs.asdict(rules), key_policy=_parsed(text))


@lru_cache(maxsize=1024)
def _parsed(text: str) -> Preferences:
    return msgspec.json.decode(text, type=Preferences)
