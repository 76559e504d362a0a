"""What Anthropic's errors mean: alone with their status, in an answer or in the middle of a stream."""

import re
from typing import Final

from providers.content import Content
from providers.errors import ProviderError, from_status
from providers.provider import Event
from providers.reading import error_of

STATUSES: Final = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""An error's type -> the status it has where it stands alone (platform.claude.com/docs/en/api/errors)."""
TOO_LONG: Final = re.compile(r"prompt is too long|exceed(s|ed)? (the )?(model's )?(maximum )?context", re.IGNORECASE)
NO_CREDIT: Final = re.compile(r"credit balance is too low|organization has been disabled|specified API usage limits", re.IGNORECASE)
"""Anthropic says with a 400 what others say with a 402: it is about the operator's account, so the client is not to blame or to know."""


def error_in(event: Event) -> ProviderError:
    """The error that stands in an answer or in its place: its type says which status it would have had."""
    code, message = error_of(event)
    return named(from_status(STATUSES.get(code or "", 502), code=code, detail=Content(message) if message else None))


def named(error: ProviderError) -> ProviderError:
    """The error with OpenAI's code for a prompt that is too long, and as a refused key where the operator's account is at fault."""
    said = error.detail.reveal() if error.detail is not None and error.status == 400 else ""
    if NO_CREDIT.search(said):
        return from_status(402, code="billing_error")
    if TOO_LONG.search(said):
        error.code = "context_length_exceeded"
    return error
