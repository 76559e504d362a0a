"""What Bedrock's exceptions mean, alone with their status or in the middle of a stream."""

import re
from typing import Any, Final

from providers.content import Content
from providers.errors import ProviderError, from_status
from providers.reading import CODE, REFUSAL_BYTES_MAX, json_or_none, retry_after
from providers.wire import Response

MISLEADING: Final = {
    "ServiceQuotaExceededException": 429,
    "ModelErrorException": 502,
    "ModelStreamErrorException": 502,
    **dict.fromkeys(("ExpiredTokenException", "IncompleteSignatureException", "InvalidSignatureException"), 403),
    **dict.fromkeys(("MissingAuthenticationTokenException", "UnrecognizedClientException"), 403),
}
"""Sent with a status (400 or 424) that would blame the client for a full quota, a model that fails, or a key that is not accepted."""
STATUSES: Final = {
    "ValidationException": 400,
    "ModelTimeoutException": 408,
    "ThrottlingException": 429,
    "InternalServerException": 500,
    "ServiceUnavailableException": 503,
    **MISLEADING,
}
"""In a stream, where an exception has no status: that of the API reference."""
TOO_LONG: Final = re.compile(r"(?:input|prompt) is too long|too many input tokens|(?:maximum|exceed\w*) (?:the )?context", re.IGNORECASE)

UNKNOWN_MODEL: Final = re.compile(r"model identifier is invalid|on-demand throughput isn|reached the end of its life", re.IGNORECASE)
"""Said with a 400 of a model that this account cannot call by this name or here: the catalog's fault, which another provider can mend."""


async def refusal(response: Response) -> ProviderError:
    """The error for a status that is not 2xx. Its name stands in a header, or where the front door refuses in the body."""
    body = json_or_none(await response.body(REFUSAL_BYTES_MAX))
    fields = body if isinstance(body, dict) else {}
    name = (response.headers.get("x-amzn-errortype") or str(fields.get("__type"))).partition(":")[0].rpartition("#")[2]
    status = MISLEADING.get(name, response.status) if response.status // 100 == 4 else response.status
    return _error(status, name, fields, retry_after(response.headers))


def error_in(name: str, payload: bytes) -> ProviderError:
    """The exception `name` of a stream, whose first letter is small there. An unknown one is the provider's fault."""
    body = json_or_none(payload)
    name = name[:1].upper() + name[1:]
    return _error(STATUSES.get(name, 502), name, body if isinstance(body, dict) else {}, None)


def _error(status: int, name: str, fields: dict[str, Any], retry_after_seconds: int | None) -> ProviderError:
    message = fields.get("message") or fields.get("Message")
    detail = Content(message) if isinstance(message, str) else None
    code = name if CODE.fullmatch(name) else None
    said = detail.reveal() if detail is not None and status == 400 else ""
    if TOO_LONG.search(said):
        code = "context_length_exceeded"
    if UNKNOWN_MODEL.search(said):
        status = 404
    return from_status(status, code=code, detail=detail, retry_after_seconds=retry_after_seconds)
