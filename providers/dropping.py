"""Which fields of a canonical request a dialect has no word for, by the names that a client may be told."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
SILENT: Final = frozenset({"messages", "model", "stream", "stream_options", "max_tokens", "max_completion_tokens", "input"})
"""What every dialect keeps in its own way."""
PLAIN: Final[Mapping[str, Any]] = {
    "n": 1,
    "logprobs": False,
    "top_logprobs": 0,
    "store": False,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "repetition_penalty": 1,
    "min_p": 0,
    "top_a": 0,
    "parallel_tool_calls": True,
    "service_tier": "auto",
    "modalities": ["text"],
    "response_format": {"type": "text"},
}
"""Values that ask for what happens anyway: to leave them out changes nothing."""


def report_dropped(body: Mapping[str, Any], known: frozenset[str], adjust: Callable[[str], None]) -> None:
    """Calls `adjust` for each field with a value that is not in `known`, unless it asks for what happens anyway.

    A name that is no plain word is the client's own: `other`.
    """
    for name, value in body.items():
        if name not in known and name not in SILENT and value not in (None, [], {}) and not _plain(name, value):
            adjust(name if _NAME.fullmatch(name) else "other")


def _plain(name: str, value: object) -> bool:
    return name in PLAIN and PLAIN[name] == value
