"""What an account lets be kept of its prompts and answers: the choice, how a key and a request make it stricter, and what follows from it.

Three levels: `none` keeps what billing needs, `metadata` (the default) also when, where, how long and how it ended, `full` also the prompt
and the answer, encrypted, for the account alone. A key and a request can only be stricter. Further opt-ins stand beside it, none implied
by another. Pure: `account_privacy` stores the document, `content_store` is the only sink for content.
"""

import hashlib
from typing import Annotated, Any, Final, Literal

import msgspec

from policy.errors import InvalidPrivacy

Level = Literal["none", "metadata", "full"]
LEVELS: Final[tuple[Level, ...]] = ("none", "metadata", "full")
"""From the strictest on."""
KEYS_MAX: Final = 1000
Days = Annotated[int, msgspec.Meta(ge=1, le=365)]
Rate = Annotated[float, msgspec.Meta(gt=0, le=1)]


class Privacy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An account's choice. `sampling_rate`: the share of generations kept under `full`; `keys`: only those keys' (None = all).

    The flags after `keys` are opt-ins of features of their own; they store nothing until their feature exists.
    """

    logging: Level = "metadata"
    retention_days: Days = 30
    sampling_rate: Rate = 1.0
    keys: Annotated[tuple[str, ...], msgspec.Meta(max_length=KEYS_MAX)] | None = None
    chat_history: bool = False
    traces_with_content: bool = False
    evaluation_sets: bool = False
    memories: bool = False
    product_improvement: bool = False


DEFAULT: Final = Privacy()


def parse(raw: object) -> Privacy:
    """A decoded JSON object -> Privacy. InvalidPrivacy names the field and says what is possible."""
    try:
        return msgspec.convert(raw, Privacy)
    except msgspec.ValidationError as error:
        raise InvalidPrivacy(_explain(str(error))) from None


def merged(old: Privacy, change: dict[str, Any]) -> Privacy:
    """A merge patch: null brings a field back to its default. InvalidPrivacy."""
    fields = {**msgspec.to_builtins(old), **change}
    return parse({name: value for name, value in fields.items() if value is not None or name not in Privacy.__struct_fields__})


def strictest(*levels: Level | None) -> Level:
    """None = nothing said; of nothing said at all, the default."""
    said = [LEVELS.index(level) for level in levels if level is not None]
    return LEVELS[min(said)] if said else DEFAULT.logging


def stored_level(text: str | None) -> Level | None:
    """What a key's row says; a word that nobody knows counts as the strictest."""
    return None if text is None else next((level for level in LEVELS if level == text), "none")


def level_of(text: str, where: str) -> Level:
    """InvalidPrivacy if it is none."""
    for level in LEVELS:
        if text.strip().lower() == level:
            return level
    raise InvalidPrivacy(f"{where}: write none, metadata or full.")


def keeps_content(privacy: Privacy, level: Level, *, key_id: str, generation_id: str) -> bool:
    """Whether this generation's content is to be stored: the level that holds for it is `full`, its key is meant, and it is in the sample.

    The sample is by the generation's id, so that the answer is the same whenever it is asked.
    """
    if level != "full" or privacy.logging != "full" or (privacy.keys is not None and key_id not in privacy.keys):
        return False
    drawn = int.from_bytes(hashlib.blake2b(generation_id.encode(), digest_size=8, person=b"sample").digest())
    return drawn < privacy.sampling_rate * 2**64


def _explain(problem: str) -> str:
    what, _, place = problem.partition(" - at `$")
    name = place.rstrip("`").lstrip(".")
    if "unknown field" in what:
        return f"{what.split('`')[1]}: is not a known field; use {', '.join(Privacy.__struct_fields__)}."
    what = what.replace("`", "")
    return f"{name or 'privacy'}: {what[:1].lower()}{what[1:]}."
