"""Which fields of a canonical request a dialect has no word for, by the names that a client may be told."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
SILENT: Final = frozenset({"messages", "model", "stream", "stream_options", "max_tokens", "max_completion_tokens", "input"})
"""What every dialect keeps in its own way."""


def report_dropped(body: Mapping[str, Any], known: frozenset[str], adjust: Callable[[str], None]) -> None:
    """Calls `adjust` for each field with a value that is not in `known`; a name that is no plain word is the client's own: `other`."""
    for name, value in body.items():
        if name not in known and name not in SILENT and value is not None and value not in ([], {}):
            adjust(name if _NAME.fullmatch(name) else "other")
