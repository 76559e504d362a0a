"""What Google's APIs say when they refuse: {"error": {"code", "message", "status", "details"}}, alone or in a list, as a ProviderError."""

import math
from typing import Any, Final

from providers.content import Content
from providers.errors import ProviderError, ProviderRefusedKey, from_status
from providers.reading import CODE, REFUSAL_BYTES_MAX, RETRY_AFTER_SECONDS_MAX, json_or_none, retry_after
from providers.wire import Response

REFUSED_KEY: Final = ("API_KEY_INVALID", "FAILED_PRECONDITION")
"""Said with a status of 400 though the account is at fault: a wrong or expired key, and a project that may not be used from here."""
TOO_LONG: Final = ("token count", "exceeds the maximum")


async def refusal(response: Response) -> ProviderError:
    """The error for a status that is not 2xx."""
    body = json_or_none(await response.body(REFUSAL_BYTES_MAX))
    return error_of(response.status, body, retry_after(response.headers))


def error_of(status: int | None, body: object, retry_after_seconds: int | None = None) -> ProviderError:
    """`status` None: an error inside an answer, whose own code then counts. The text is the provider's, so it is content."""
    error = _error(body[0] if isinstance(body, list) and body else body)
    if status is None:
        code = error.get("code")
        status = code if type(code) is int and 400 <= code < 600 else 502
    message, word = error.get("message"), error.get("status")
    details = [detail for detail in _list(error.get("details")) if isinstance(detail, dict)]
    code = word.lower() if isinstance(word, str) and CODE.fullmatch(word) else None
    detail = Content(message) if isinstance(message, str) and message else None
    if status == 400 and not {str(word), *(str(each.get("reason")) for each in details)}.isdisjoint(REFUSED_KEY):
        return ProviderRefusedKey(f"the provider answered {status}", status=status, code=code, detail=detail)
    if status == 400 and isinstance(message, str) and all(words in message for words in TOO_LONG):
        code = "context_length_exceeded"
    seconds = next((seconds for each in details if (seconds := _seconds(each.get("retryDelay"))) is not None), retry_after_seconds)
    return from_status(status, code=code, detail=detail, retry_after_seconds=seconds)


def _error(body: object) -> dict[str, Any]:
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {"message": error}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _seconds(delay: object) -> int | None:
    """Of RetryInfo: "57.2387s"."""
    try:
        seconds = math.ceil(float(delay.removesuffix("s"))) if isinstance(delay, str) else None
    except (ValueError, OverflowError):
        return None
    return None if seconds is None else min(max(seconds, 0), RETRY_AFTER_SECONDS_MAX)
