"""What clients are told about a model that will end: a header on its answers until its last day. After it `policy.wanted` refuses."""

import datetime
from typing import Final

from providers.provider import Model

HEADER: Final = b"x-tollway-deprecated"


def deprecation(model: Model) -> list[tuple[bytes, bytes]]:
    """`X-Tollway-Deprecated: 2027-03-01; successor=company/model`, the last day and what to use then; nothing for a model without end."""
    if model.deprecated is None:
        return []
    successor = f"; successor={model.successor}" if model.successor else ""
    return [(HEADER, f"{model.deprecated.isoformat()}{successor}".encode())]


def day(now_ms: int) -> datetime.date:
    """The day that holds a Unix time in milliseconds, UTC."""
    return datetime.datetime.fromtimestamp(now_ms // 1000, datetime.UTC).date()
